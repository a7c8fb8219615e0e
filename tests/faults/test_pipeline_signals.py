"""Signals, a second instance and a store that is away: what was acked is stored once, the process ends as it should."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from schemas.settings import StoreSettings
from schemas.signals import Signal
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port
from tests.faults.pipeline import TIMEOUT_S, Load, Pipeline, pipeline, wait_until
from tests.testbed.parts import freeze


def begin(running: Pipeline) -> Load:
    """Start and send; returns once batches of every signal are stored."""
    running.start()
    load = running.load()
    load.await_acks()
    running.await_batch()
    return load


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_sigterm_stores_all_that_was_acked_before_the_process_ends(tmp_path: Path) -> None:
    with pipeline(tmp_path) as running:
        load = begin(running)
        process = running.process
        assert process is not None
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
        load.stop()

        settings = StoreSettings(http_port=running.store_port)
        # The store alone: nobody is there who could store now what was left in the log.
        with EmbeddedStore(running.data / "store", settings):
            assert not any(running.snapshot().in_flight_items.values())
            proof = running.prove(load)
    assert proof.wrong == []
    assert proof.acked > 0
    assert "Traceback" not in running.said.read_text()


def test_sigterm_ends_the_process_when_the_store_hangs_and_the_next_start_stores_what_was_acked(tmp_path: Path) -> None:
    bounds = {"SLUICEWAY_INGEST__DRAIN_TIMEOUT_S": "1", "SLUICEWAY_STORE__STOP_TIMEOUT_S": "2"}
    with pipeline(tmp_path, settings=bounds) as running:
        load = begin(running)
        store = running.store_pid()
        assert store is not None
        freeze(store)
        load.await_acks("acknowledgements while the store hangs")
        assert running.process is not None
        running.process.terminate()
        assert running.process.wait(TIMEOUT_S) == 0
        assert gone(store)

        running.start()
        load.await_acks()
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    assert proof.wrong == []


def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pipeline(tmp_path) as running:
        load = begin(running)
        store = running.store_pid()
        assert store is not None
        # A store that hangs keeps the drain from ending between the two signals.
        freeze(store)
        load.await_acks("acknowledgements while the store hangs")
        assert running.process is not None
        running.process.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping: draining" in running.said.read_text(), "the drain to begin")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(TIMEOUT_S) == 128 + signal.SIGINT
        wait_until(lambda: gone(store), "the store to end with its parent")

        running.start()
        load.await_acks()
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    assert proof.wrong == []


def test_a_second_instance_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with pipeline(tmp_path) as running:
        load = begin(running)
        process, store = running.process, running.store_pid()
        assert process is not None
        names = ("INGEST__GRPC_PORT", "INGEST__HTTP_PORT", "STORE__HTTP_PORT", "VIEWER__PORT")
        other_ports = {f"SLUICEWAY_{name}": str(free_port()) for name in names}

        code, said = running.command("up", environment=other_ports)
        assert code == 2
        assert f"process {process.pid} " in said
        assert str(running.data) in said
        assert "Traceback" not in said

        load.await_acks("acknowledgements after the second instance was refused")
        running.await_batch()
        assert (process.poll(), running.store_pid()) == (None, store)
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    assert proof.wrong == []


def test_requests_are_acked_all_the_time_that_the_store_is_away(tmp_path: Path) -> None:
    with pipeline(tmp_path) as running:
        load = begin(running)
        killed_ns = time.monotonic_ns()
        before, unanswered = load.count("acked"), load.count("unknown")
        pids = set()

        def outage_was_long_enough() -> bool:
            # The store is started again and again; none of them lives long enough to answer.
            pids.add(running.kill_store())
            return all(load.count("acked")[kind] - before[kind] >= 900 for kind in Signal)

        wait_until(outage_was_long_enough, "900 items of every signal to be acked while the store is away")
        pids.discard(None)
        wait_until(lambda: running.ask("SELECT 1") is not None, "the store to come back by itself")
        outage_s = (time.monotonic_ns() - killed_ns) / 1e9
        acked = sum((load.count("acked") - before).values())
        running.await_batch()
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    print(f"\n{acked} items acked in the {outage_s:.1f} s that the store was away, killed {len(pids)} times; {proof}")
    assert proof.wrong == []
    assert load.count("refused").total() == 0
    assert load.count("unknown") == unanswered, "a request was not answered"
