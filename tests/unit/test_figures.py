"""What is read of the log and of our processes for the viewer and for /metrics, on a real log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from processors.sqlite_log_inspect import SqliteLogInspector
from schemas.errors import LogUnavailableError
from schemas.log import DeadLetter, Entry, LogSnapshot
from schemas.settings import LogSettings
from sluiceway.figures import LogFigures, cpu_seconds, observe_pipeline, resident_bytes
from sluiceway.settings import TelemetrySettings
from sluiceway.telemetry import SelfTelemetry

_NOW_NS = 1_700_000_100_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two spans records and one logs record that claims to come from the future."""
    path = tmp_path / "log.sqlite"
    writer = SqliteLogWriter(path, LogSettings())
    writer.append(
        [
            Entry("otlp_spans", b"one", "a", _NOW_NS - 7_000_000_000, items=3),
            Entry("otlp_spans", b"two", "b", _NOW_NS - 5_000_000_000, items=4),
            Entry("otlp_logs", b"three", "", _NOW_NS + 9_000_000_000, items=5),
        ]
    )
    writer.close()
    return path


@pytest.fixture
def figures(path: Path) -> Iterator[LogFigures]:
    inspector = SqliteLogInspector(path)
    yield LogFigures(inspector, 1 << 30, max_age_s=0.0, clock_ns=lambda: _NOW_NS)
    inspector.close()


def _values(observed: object) -> dict[str, float]:
    return {labels["signal"]: value for value, labels in observed}  # type: ignore[attr-defined]


def test_lag_is_the_records_items_and_age_of_what_is_not_yet_stored(path: Path, figures: LogFigures) -> None:
    assert _values(figures.lag_records()) == {"traces": 2, "metrics": 0, "logs": 1}
    assert _values(figures.lag_items()) == {"traces": 7, "metrics": 0, "logs": 5}
    assert _values(figures.lag_seconds()) == {"traces": 7.0, "metrics": 0.0, "logs": 0.0}
    assert figures.figures().lag_s == 7.0
    reader = SqliteLogReader(path, "otlp_spans")
    first = reader.read(0, reader.progress(0).next_offset, max_records=1, max_bytes=1)[0]
    reader.freeze(0, first.offset)
    reader.commit(0, [DeadLetter(first, "malformed", "truncated")])
    reader.close()
    assert _values(figures.lag_records()) == {"traces": 1, "metrics": 0, "logs": 1}
    assert _values(figures.lag_items()) == {"traces": 4, "metrics": 0, "logs": 5}
    assert _values(figures.lag_seconds()) == {"traces": 5.0, "metrics": 0.0, "logs": 0.0}
    assert _values(figures.dead_letters()) == {"traces": 1, "metrics": 0, "logs": 0}


def test_size_is_what_lies_on_disk(path: Path, figures: LogFigures) -> None:
    observed = list(figures.size())
    files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
    assert observed == [(sum(file.stat().st_size for file in files), {})]
    assert figures.figures().log_max_bytes == 1 << 30


def test_one_reading_serves_everybody_for_a_while(path: Path) -> None:
    asked = []

    class Asked(SqliteLogInspector):
        def snapshot(self) -> LogSnapshot:
            asked.append(1)
            return super().snapshot()

    inspector = Asked(path)
    figures = LogFigures(inspector, 1, max_age_s=3600)
    for _ in range(5):
        figures.lag_items()
        figures.size()
    inspector.close()
    assert len(asked) == 1


def test_our_own_process_is_measured_and_a_gone_one_is_not() -> None:
    assert (resident_bytes(os.getpid()) or 0) > 1 << 20
    before = cpu_seconds(os.getpid())
    sum(range(10**6))
    after = cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert 0 < before <= after
    gone = 2**22 + 1  # over the kernel's bound on process ids
    assert (resident_bytes(gone), cpu_seconds(gone)) == (None, None)


def _never(*_: object) -> Future[None]:
    raise LogUnavailableError("log: is away")


def _exposed() -> dict[str, dict[tuple[str, ...], float]]:
    body, _ = SelfTelemetry(_never, TelemetrySettings()).exposition()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_metrics_read_the_pipeline_that_runs_and_nothing_after_it_ended(figures: LogFigures) -> None:
    end = observe_pipeline(figures, {"pipeline": os.getpid, "store": lambda: None}, lambda: 2)
    exposed = _exposed()
    assert exposed["sluiceway_log_lag_items"] == {("traces",): 7, ("metrics",): 0, ("logs",): 5}
    assert exposed["sluiceway_store_restarts_total"] == {(): 2}
    assert list(exposed["sluiceway_runtime_resident_bytes"]) == [("pipeline",)]
    assert list(exposed["sluiceway_runtime_cpu_seconds_total"]) == [("pipeline",)]
    end()
    assert "sluiceway_log_lag_items" not in _exposed()


def test_a_log_that_cannot_be_read_leaves_its_figures_out_and_the_rest_in(
    figures: LogFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> LogSnapshot:
        raise LogUnavailableError("log: is away")

    end = observe_pipeline(figures, {"pipeline": os.getpid}, None)
    monkeypatch.setattr(figures, "figures", away)
    exposed = _exposed()
    end()
    assert "sluiceway_log_size_bytes" not in exposed
    assert "sluiceway_runtime_resident_bytes" in exposed
