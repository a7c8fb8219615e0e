"""The demo against the real receivers and the real log: what it counts is what the log says it accepted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ingest.serve import Receivers
from ingest.settings import IngestSettings
from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log_inspect import SqliteLogInspector
from schemas.settings import LogSettings, RetentionSettings
from schemas.signals import Signal, signal_of
from sluiceway.demo.shop import run_demo


def test_every_item_that_the_demo_counts_as_acknowledged_is_in_the_log_and_no_other(tmp_path: Path) -> None:
    log = SqliteLogWriter(tmp_path / "log.sqlite", LogSettings())
    with Receivers(log, IngestSettings(grpc_port=0, http_port=0), RetentionSettings()) as receivers:
        report = run_demo(
            f"http://127.0.0.1:{receivers.grpc_port}",
            f"http://127.0.0.1:{receivers.http_port}",
            3.0,
            60.0,
            lambda _: None,
            seed=3,
            metric_interval_s=1.0,
        )
    inspector = SqliteLogInspector(tmp_path / "log.sqlite")
    counts = inspector.snapshot().counts
    inspector.close()
    log.close()
    items: Counter[Signal] = Counter()
    for count in counts:
        assert (count.tenant, count.rejected) == ("", 0)
        items[signal_of(count.topic)] += count.items
    assert dict(items) == dict(report.acked)
    assert report.complete
