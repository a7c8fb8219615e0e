"""The commands and the readers on a store that is reached by its URL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.store import StoreReader
from processors import schema
from processors.store_client import store_errors
from schemas.errors import StoreUnavailableError
from schemas.settings import RetentionSettings
from sluiceway.health import store_check
from tests.command_line import run
from tests.remote_store import RemoteStore
from tests.tls_proxy import tls_proxy


@pytest.fixture(scope="module")
def remote_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteStore]:
    with RemoteStore(tmp_path_factory.mktemp("remote")) as running:
        yield running


@pytest.fixture
def installation(remote_store: RemoteStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RemoteStore:
    """A working folder whose configuration names the store."""
    monkeypatch.chdir(tmp_path)
    for name, value in remote_store.environment().items():
        monkeypatch.setenv(name, value)
    return remote_store


def test_the_schema_is_planned_and_applied_without_an_embedded_store_in_the_folder(
    installation: RemoteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICEWAY_STORE__DATABASE", "elsewhere")

    assert run("schema", "plan") == 0
    planned = capsys.readouterr().out
    assert planned.startswith("-- the database is missing\nCREATE DATABASE IF NOT EXISTS elsewhere ENGINE = Atomic;")
    assert run("schema", "apply") == 0
    assert run("schema", "plan") == 0
    assert capsys.readouterr().out.endswith("up to date\n")
    assert list(Path.cwd().iterdir()) == []


def test_query_asks_it(installation: RemoteStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", "SELECT currentUser() AS u, currentDatabase() AS d", "--format", "csv") == 0
    assert capsys.readouterr().out == '"u","d"\n"reader","otel"\n'


def test_a_reader_that_might_write_is_kept_from_it(
    installation: RemoteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLUICEWAY_STORE__READER_USER")

    assert run("query", "SELECT currentUser() AS u", "--format", "csv") == 0
    assert capsys.readouterr().out == '"u"\n"sluiceway"\n'
    for statement in ("CREATE TABLE t (a Int8) ENGINE = Memory", "SELECT 1 SETTINGS readonly = 0"):
        assert run("query", statement) == 2
        assert "READONLY" in capsys.readouterr().err


def test_a_wrong_password_is_an_error_that_names_it_and_may_pass(remote_store: RemoteStore, tmp_path: Path) -> None:
    file = tmp_path / "password"
    access = remote_store.access(password_file=file)
    with pytest.raises(StoreUnavailableError, match="password of sluiceway cannot be read from"):
        access.connect_writer()
    file.write_text("wrong")
    with pytest.raises(StoreUnavailableError, match="AUTHENTICATION_FAILED") as refused:
        access.connect_writer()
    assert refused.value.retry_after_s == 10
    with (
        pytest.raises(
            StoreUnavailableError, match=r"^store: the user or its password is refused \(AUTHENTICATION_FAILED\): "
        ),
        access.writer(),
    ):
        pass
    file.write_text(remote_store.password_file.read_text())
    with access.writer() as client, store_errors():
        assert client.query("SELECT currentUser()").result_rows == [("sluiceway",)]


def test_a_url_where_nothing_answers_is_named_with_the_reason(
    installation: RemoteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICEWAY_STORE__URL", "http://127.0.0.1:1")

    assert run("query", "SELECT 1") == 2
    said = capsys.readouterr().err
    assert said == "sluiceway: store: no answer from http://127.0.0.1:1 (store.url): nothing listens there\n"
    assert run("doctor") == 1
    assert "fail  store        store: no answer from http://127.0.0.1:1" in capsys.readouterr().out


def test_the_doctor_looks_at_it_and_not_for_an_engine(
    installation: RemoteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run("doctor")
    said = capsys.readouterr().out

    assert "ok    store        answers in" in said
    assert "ok    engine       none needed: store.url names a server" in said
    assert "store port" not in said


def test_the_viewer_reads_a_changed_password_after_a_refusal(tmp_path: Path) -> None:
    given = tmp_path / "given"
    with RemoteStore(tmp_path / "store") as store:
        given.write_text(store.password_file.read_text())
        access = store.access(password_file=given, reader_user=None)
        with access.writer() as client:
            schema.apply(client, "otel", RetentionSettings())
        reader = StoreReader(access.connect_reader)
        try:
            assert asyncio.run(reader.ask("versions", {"from_s": 0, "to_s": 1, "service": ""})) == []
            store.stop()
            store.password_file.write_text("another, longer password")
            store.start()
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match=r"refused versions: .*AUTHENTICATION_FAILED"):
                    asyncio.run(reader.ask("versions", {"from_s": 0, "to_s": 1, "service": ""}))
            given.write_text("another, longer password")
            assert asyncio.run(reader.ask("versions", {"from_s": 0, "to_s": 1, "service": ""})) == []
        finally:
            reader.close()


def test_readiness_asks_over_tls_and_trusts_only_the_given_ca(remote_store: RemoteStore, tmp_path: Path) -> None:
    with tls_proxy(remote_store.port, tmp_path) as proxy:
        assert store_check(proxy.url, ca_file=proxy.ca_file)() is None
        assert "its certificate is not trusted" in str(store_check(proxy.url)())


def test_the_doctor_warns_of_a_password_in_the_clear(
    installation: RemoteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("doctor")
    assert "in the clear" not in capsys.readouterr().out
    # A name that never resolves: the warning must not need an answer.
    monkeypatch.setenv("SLUICEWAY_STORE__URL", "http://store.invalid:8123")
    run("doctor")
    assert (
        "warn  store url    http://store.invalid:8123 carries passwords and rows in the clear"
        in capsys.readouterr().out
    )
