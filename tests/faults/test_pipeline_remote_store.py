"""`sluiceway up` with `store.url`: the store is a process that others start, kill, lock up and give new passwords."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from schemas.signals import Signal
from tests.conftest import free_port
from tests.faults.pipeline import Load, pipeline, wait_until
from tests.remote_store import RemoteStore
from tests.tls_proxy import tls_proxy


def together(*loads: Load) -> Load:
    """One load whose outcomes are those of all; they sent other numbers each."""
    first, *others = loads
    for other in others:
        other.read()
        for kind in Signal:
            first.outcomes[kind].update(other.outcomes[kind])
    return first


def test_two_pipelines_on_one_store_that_is_killed_store_each_item_once(tmp_path: Path) -> None:
    with RemoteStore(tmp_path / "store") as store:
        folders = tmp_path / "one", tmp_path / "two"
        for folder in folders:
            folder.mkdir()
        with (
            pipeline(folders[0], settings=store.environment(), remote_port=store.port) as one,
            pipeline(folders[1], settings=store.environment(compression="none"), remote_port=store.port) as two,
        ):
            one.start()
            two.start()
            loads = [one.load(), two.load(first=1_000_000_000)]
            for load in loads:
                load.await_acks()
            one.await_batch()
            store.kill()
            for load in loads:
                load.await_acks("acknowledgements while the store is away")
            store.start()
            one.await_batch()
            under_load, told = one.command("audit", "--timeout", "0")
            for load in loads:
                load.stop()
            one.await_drained()
            two.await_drained()
            logs = one.number("SELECT uniqExact(LogId) FROM ledger")
            schemas = one.number("SELECT count() FROM schema_versions")
            assert one.store_pid() is None
            proof = one.prove(together(*loads))
            code, said = two.command("audit", "--timeout", "60")
    assert proof.wrong == []
    assert proof.acked > 0
    assert (code, logs, schemas) == (0, 2, 1), said
    assert under_load != 1, told
    assert not (one.data / "store" / "data").exists()


def test_a_password_that_is_wrong_or_changes_holds_the_rows_up_and_loses_none(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("wrong")
    viewer_port = free_port()
    store = RemoteStore(tmp_path / "store")
    store.start()
    with tls_proxy(store.port, tmp_path) as proxy:
        settings = {
            **store.environment(url=proxy.url, password_file=given, ca_file=proxy.ca_file),
            "SLUICEWAY_VIEWER__PORT": str(viewer_port),
        }
        with pipeline(tmp_path, settings=settings, remote_port=store.port) as running:
            running.start()
            load = running.load()
            load.await_acks("acknowledgements before the store can be written to")
            wait_until(lambda: "AUTHENTICATION_FAILED" in running.said.read_text(), "the refusal to be told")
            assert running.alive
            given.write_text(store.password_file.read_text())
            running.await_batch()

            # The operator changes the password on the server first, and in our file a while later.
            store.stop()
            store.password_file.write_text("another, longer password")
            store.start()
            refusals = running.said.read_text().count("AUTHENTICATION_FAILED")
            wait_until(
                lambda: running.said.read_text().count("AUTHENTICATION_FAILED") > refusals, "the old password refused"
            )
            load.await_acks("acknowledgements while the old password is refused")
            given.write_text("another, longer password")
            running.await_batch()

            page = urllib.request.urlopen(f"http://127.0.0.1:{viewer_port}/", timeout=60).read().decode()
            assert "load-cart" in page
            ready = urllib.request.urlopen(f"http://127.0.0.1:{viewer_port}/readyz", timeout=60).read()
            assert ready == b'{"status":"ready"}'
            load.stop()
            running.await_drained()
            proof = running.prove(load)
    store.stop()
    assert proof.wrong == []
    assert proof.acked > 0


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with RemoteStore(tmp_path / "store") as store, tls_proxy(store.port, tmp_path) as proxy:
        with pipeline(tmp_path, settings=store.environment(url=proxy.url), remote_port=store.port) as distrusting:
            code, said = distrusting.command("query", "SELECT 1")
        assert code == 2
        assert "its certificate is not trusted" in said
        trusting = store.environment(url=proxy.url, ca_file=proxy.ca_file)
        with pipeline(tmp_path, settings=trusting, remote_port=store.port) as running:
            assert running.command("query", "SELECT currentUser() FORMAT TSV") == (0, "reader\n")
            assert running.command("schema", "apply")[0] == 0
