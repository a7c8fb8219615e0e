"""Self-telemetry through the real writer of the log: what it appends, and that appending it makes no more of it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest.admission import Admission
from ingest.append import Appender
from ingest.settings import IngestSettings
from ingest.sqlite_log import SqliteLogWriter
from ingest.tally import Tally
from ingest.validate import validate
from processors.sqlite_log import SqliteLogReader
from processors.sqlite_log_inspect import SqliteLogInspector
from schemas.log import Record
from schemas.settings import LogSettings
from schemas.signals import NAMES, Signal
from schemas.telemetry import SELF_TENANT
from schemas.tracing import batch_span
from sluiceway.figures import LogFigures, observe_pipeline
from sluiceway.settings import TelemetrySettings
from sluiceway.telemetry import SelfTelemetry

_EXPORTS = 8


@dataclass(frozen=True, slots=True)
class Idle:
    """An ingest side that nobody sends to, with self-telemetry that is exported by hand."""

    telemetry: SelfTelemetry
    path: Path

    def records(self, signal: Signal) -> list[Record]:
        reader = SqliteLogReader(self.path, NAMES[signal].topic, "test")
        records = reader.read(0, 0, max_records=1000, max_bytes=1 << 30)
        reader.close()
        return records


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Idle]:
    # What earlier tests in this process counted must be gone before the first export, not between two of them.
    gc.collect()
    path = tmp_path / "log.sqlite"
    writer = SqliteLogWriter(path, LogSettings())
    settings = IngestSettings()
    appender = Appender(writer, settings, Tally(Admission(settings)))
    inspector = SqliteLogInspector(path)
    end = observe_pipeline(LogFigures(inspector, 1 << 30, max_age_s=0.0), {"pipeline": os.getpid}, lambda: 0)
    yield Idle(SelfTelemetry(appender.submit, TelemetrySettings()), path)
    end()
    inspector.close()
    appender.close()
    writer.close()


def test_an_idle_pipeline_appends_the_same_number_of_items_in_every_interval(idle: Idle) -> None:
    for _ in range(_EXPORTS):
        idle.telemetry.export()
    items = [record.items for record in idle.records(Signal.METRICS)]
    assert len(items) == _EXPORTS
    # The first export counts the first series up; from the third on every series that there will be is there.
    assert set(items[2:]) == {items[2]}
    assert idle.records(Signal.TRACES) == idle.records(Signal.LOGS) == []


def test_what_it_appends_passes_our_own_validation_with_the_items_it_says(idle: Idle) -> None:
    with batch_span([""], {"signal": "traces"}):
        pass
    for _ in range(3):
        idle.telemetry.export()
    now_ns = time.time_ns()
    records = [(signal, record) for signal in Signal for record in idle.records(signal)]
    assert {signal for signal, _ in records} == {Signal.TRACES, Signal.METRICS}
    for signal, record in records:
        verdict = validate(signal, record.value, now_ns=now_ns, oldest_ns=now_ns - 10**12, newest_ns=now_ns + 10**9)
        assert (verdict.items, verdict.rejected, verdict.body) == (record.items, 0, record.value)
        assert record.tenant == SELF_TENANT


def test_it_changes_nothing_in_what_the_log_counts_for_clients(idle: Idle) -> None:
    idle.telemetry.export()
    inspector = SqliteLogInspector(idle.path)
    counts = inspector.snapshot().counts
    inspector.close()
    assert {count.tenant for count in counts} == {SELF_TENANT}
