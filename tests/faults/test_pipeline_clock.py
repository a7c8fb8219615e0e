"""The wall clock steps back and forth under load: nothing stalls, nothing is lost, nothing is stored twice.

libfaketime (a system package; .ci/run installs it) stands between the processes and the C library's wall clock. It
reaches the pipeline with its Python, gRPC and SQLite. It does not reach the store's engine, which binds to the C
library ahead of preloaded ones: there the wall clock only labels parts and decides what has expired.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.pipeline import Pipeline, pipeline, wait_until

_LIBRARIES = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))

pytestmark = pytest.mark.skipif(not _LIBRARIES, reason="needs libfaketime (apt-get install libfaketime)")

# libfaketime 0.9.10 refuses the call that time.sleep is made of; what waits on a lock works, so sleeping does so too.
_SLEEP = """
import threading
import time

def sleep(seconds):
    threading.Event().wait(seconds)

time.sleep = sleep
"""


class SteppingClock:
    """A wall clock that the pipeline sees and that can be set; the monotonic clock stays as it is."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        python = folder / "python"
        python.mkdir()
        (python / "sitecustomize.py").write_text(_SLEEP)
        self._python = python
        self.step(0)

    def step(self, offset_s: int) -> None:
        """Set it this many seconds off the true time; seen within a second."""
        fresh = self._offset.with_name("offset.new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.replace(self._offset)

    def environment(self, running: Pipeline) -> dict[str, str]:
        """For the processes that shall see it."""
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": f"{self._python}:{running.environment['PYTHONPATH']}",
        }


def seen_by(running: Pipeline) -> float:
    """How far the pipeline's wall clock is off, seconds: when it says that it received its newest span."""
    newest = "SELECT toUnixTimestamp64Milli(Time) FROM ledger WHERE Signal = 'traces' ORDER BY FirstOffset DESC LIMIT 1"
    rows = running.ask(newest)
    return int(rows[0][0]) / 1000 - time.time() if rows else 0.0


@pytest.mark.slow
def test_a_clock_that_steps_back_neither_stalls_nor_loses_nor_doubles_anything(tmp_path: Path) -> None:
    clock = SteppingClock(tmp_path)
    with pipeline(tmp_path) as running:
        environment = clock.environment(running)
        running.start(environment=environment)
        load = running.load()
        load.await_acks()
        running.await_batch()

        clock.step(-7200)
        wait_until(lambda: seen_by(running) < -7000, "the pipeline to see its clock two hours back")
        load.await_acks("acknowledgements after the clock stepped back")
        running.await_batch()
        running.kill()
        running.start(environment=environment)
        load.await_acks("acknowledgements after a start in the past")
        clock.step(0)
        wait_until(lambda: seen_by(running) > -3600, "the pipeline to see its clock right again")
        load.stop()
        running.await_drained()
        proof = running.prove(load)
        assert running.process is not None
        running.process.terminate()
        assert running.process.wait(240) == 0
    print(f"\n{proof}")
    assert proof.wrong == []
    assert proof.acked > 0
    assert "Traceback" not in running.said.read_text()
