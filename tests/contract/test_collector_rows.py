"""The Collector's ClickHouse exporter writes into our tables; for the same requests its rows and ours are equal.

This is the proof that our columns are the exporter's (names, values), of which docs/collector.md lists every exception.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from ingest.wire_schema import REQUESTS
from processors import native
from processors.arena import Arena
from processors.decode import decode
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.settings import StoreSettings
from schemas.signals import Signal
from sluiceway.embedded.store import EmbeddedStore
from tests.otel_collector import require_collector
from tests.otlp_export import Exporting
from tests.otlp_requests import NOW_NS
from tests.rows_in_store import Database, database
from tests.settled_requests import settled
from tests.strategies import record_of
from tests.testbed.collector import Collector
from tests.testbed.collector_configs import clickhouse_out, otlp_in, pipelines
from tests.testbed.parts import free_ports

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "collector.md"
SEEDS = range(60)
NANOS = "DateTime64(9)"


@dataclass
class Both:
    """The same requests into two databases of one store: through the Collector, and through our decoder and encoder."""

    ours: Database
    theirs: Database
    collector: Exporting
    store: EmbeddedStore
    native_port: int

    def write(self, signal: Signal, requests: list[Any]) -> None:
        """Send to the Collector, which answers when its rows are there; decode, encode and insert the same."""
        bodies = [request.SerializeToString() for request in requests]
        for body in bodies:
            self.collector.export(signal, body)
        self.write_ours(signal, [record_of(signal, body, at) for at, body in enumerate(bodies)])

    def write_ours(self, signal: Signal, records: list[Record]) -> None:
        """As the processor does."""
        arena, inserter = Arena(), self.ours.inserter()
        decoded = decode(signal, records, arena)
        assert decoded.faults == []
        for name, batch in decoded.tables.items():
            body = native.encode(batch, BY_NAME[name].columns, arena)
            inserter.native(name, BY_NAME[name].names, body, batch.num_rows, f"{name}{random.random()}")
        inserter.close()

    def empty(self) -> None:
        """Forget all rows."""
        for made in (self.ours, self.theirs):
            for name in BY_NAME:
                made.client.command(f"TRUNCATE TABLE {made.name}.{name}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    require_collector()
    folder = tmp_path_factory.mktemp("rows")
    http_port, native_port, otlp_port = free_ports(3)
    with (
        EmbeddedStore(folder / "store", StoreSettings(http_port=http_port, native_port=native_port)) as store,
        database(store, "ours") as ours,
        database(store, "theirs") as theirs,
    ):
        for made in (ours, theirs):
            for name in BY_NAME:
                # What is compared includes times that would expire at once.
                made.client.command(f"ALTER TABLE {made.name}.{name} REMOVE TTL")
        rows_out = clickhouse_out(native_port, store.writer_user, store.writer_password, database="theirs")
        with (
            Collector(folder / "collector", pipelines(otlp_in(otlp_port), rows_out)),
            Exporting(f"127.0.0.1:{otlp_port}") as exporting,
        ):
            yield Both(ours, theirs, exporting, store, native_port)


@pytest.fixture
def both(running: Both) -> Both:
    running.empty()
    return running


def _exporters_columns(rows: list[dict[str, Any]], table: str) -> Counter[str]:
    names = [column.name for column in BY_NAME[table].columns if not column.added]
    return Counter(repr({name: row[name] for name in names}) for row in rows)


@pytest.mark.parametrize("signal", Signal)
def test_rows_are_equal_in_every_column_that_the_exporter_writes(both: Both, signal: Signal) -> None:
    both.write(signal, [settled(seed, signal) for seed in SEEDS])

    for table in (each for each in BY_NAME.values() if each.signal == signal):
        theirs, ours = both.theirs.rows(table.name), both.ours.rows(table.name)
        assert len(theirs) > 15, table.name
        assert _exporters_columns(ours, table.name) == _exporters_columns(theirs, table.name), table.name
        # Not for want of values: each of the exporter's columns differs between rows.
        for column in table.columns:
            assert column.added or len({repr(row[column.name]) for row in theirs}) > 1, f"{table.name}.{column.name}"


def test_the_exporters_own_tables_have_our_columns_under_the_same_names(both: Both, tmp_path: Path) -> None:
    (otlp_port,) = free_ports(1)
    own = clickhouse_out(
        both.native_port, both.store.writer_user, both.store.writer_password, database="stock", create_schema=True
    )
    both.ours.client.command("CREATE DATABASE IF NOT EXISTS stock ENGINE = Atomic")
    with Collector(tmp_path, pipelines(otlp_in(otlp_port), own)):
        tables = {row["table"] for row in both.ours.ask("SELECT table FROM system.tables WHERE database = 'stock'")}
        assert tables >= set(BY_NAME)
        other_types = set()
        for name, table in BY_NAME.items():
            ours = {column.name: column for column in table.columns}
            theirs = both.ours.ask(
                "SELECT name, type FROM system.columns WHERE database = 'stock' AND table = {t:String} "
                "AND default_kind = ''",
                t=name,
            )
            assert {row["name"] for row in theirs} == {each.name for each in table.columns if not each.added}, name
            other_types |= {(row["type"], ours[row["name"]].type) for row in theirs} - {
                (row["type"], row["type"]) for row in theirs
            }

    # Types may only be more exact or cheaper: the same texts dictionary-encoded, nanoseconds where it keeps seconds.
    documented = set(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert other_types == documented


def test_what_we_add_is_documented_and_nothing_else() -> None:
    section = DOCUMENT.read_text().split("## What we add", 1)[1].split("\n## ", 1)[0]
    documented = {
        (table, name)
        for tables, names in re.findall(r"^\| (`otel_[^|]*|every table) \| (.*?) \|", section, re.MULTILINE)
        for table in (re.findall(r"`(\w+)`", tables) or BY_NAME)
        for name in re.findall(r"`([\w.]+)`", names)
    }

    assert documented == {
        (table.name, column.name) for table in BY_NAME.values() for column in table.columns if column.added
    }


def _span(**fields: Any) -> Any:
    request = REQUESTS[Signal.TRACES]()
    times = {"start_time_unix_nano": NOW_NS, "end_time_unix_nano": NOW_NS + 5} | fields
    request.resource_spans.add().scope_spans.add().spans.add(**times)
    return request


def _gauge(**fields: Any) -> Any:
    request = REQUESTS[Signal.METRICS]()
    points = request.resource_metrics.add().scope_metrics.add().metrics.add(name="queue").gauge.data_points
    points.add(**({"time_unix_nano": NOW_NS, "as_double": 1.0} | fields))
    return request


def _attribute(**value: Any) -> dict[str, Any]:
    return {"attributes": [{"key": "k", "value": value}]}


# Name in the document, request, table, column, the exporter's value, ours.
DIFFERENCES: list[tuple[str, Any, str, str, Any, Any]] = [
    ("time not set", _span(start_time_unix_nano=0), "otel_traces", "Timestamp", "0", str(NOW_NS + 5)),
    ("time not set", _span(events=[{"name": "e"}]), "otel_traces", "Events.Timestamp", ["0"], [str(NOW_NS)]),
    ("time not set", _gauge(time_unix_nano=0), "otel_metrics_gauge", "TimeUnix", "0", str(NOW_NS)),
    (
        "time not set", _gauge(exemplars=[{"as_double": 1.0, "trace_id": b"t" * 16, "span_id": b"s" * 8}]),
        "otel_metrics_gauge", "Exemplars.TimeUnix", ["0"], [str(NOW_NS)],
    ),
    ("time past 2262", _gauge(time_unix_nano=2**64 - 1), "otel_metrics_gauge", "TimeUnix", "-1", str(NOW_NS)),
    ("span ends first", _span(end_time_unix_nano=NOW_NS - 1), "otel_traces", "Duration", str(2**64 - 1), "0"),
    (
        "exemplar without ids", _gauge(exemplars=[{"time_unix_nano": NOW_NS}]),
        "otel_metrics_gauge", "Exemplars.TraceId", ["0" * 32], [""],
    ),
    (
        "exemplar without ids", _gauge(exemplars=[{"time_unix_nano": NOW_NS}]),
        "otel_metrics_gauge", "Exemplars.SpanId", ["0" * 16], [""],
    ),
    (
        "NaN in a list", _span(**_attribute(array_value={"values": [{"double_value": float("nan")}]})),
        "otel_traces", "SpanAttributes", [("k", "")], [("k", '["NaN"]')],
    ),
    (
        "empty bytes in a list", _span(**_attribute(array_value={"values": [{"bytes_value": b""}]})),
        "otel_traces", "SpanAttributes", [("k", "[null]")], [("k", '[""]')],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "table", "column", "theirs", "ours"),
    [each[1:] for each in DIFFERENCES],
    ids=[f"{each[0]}-{each[3]}" for each in DIFFERENCES],
)
def test_the_exceptions_are_as_documented(
    both: Both, request_: Any, table: str, column: str, theirs: Any, ours: Any
) -> None:
    both.write(BY_NAME[table].signal, [request_])

    (their_row,), (our_row,) = both.theirs.rows(table), both.ours.rows(table)
    assert _plain(their_row[column]) == theirs
    assert _plain(our_row[column]) == ours


def _plain(value: Any) -> Any:
    return (
        [_plain(each) for each in value]
        if isinstance(value, list)
        else value
        if isinstance(value, tuple)
        else str(value)
    )


def test_a_metric_without_data_costs_the_exporter_the_request_and_us_nothing(both: Both) -> None:
    request = _gauge()
    request.resource_metrics[0].scope_metrics[0].metrics.add(name="empty")

    with pytest.raises(grpc.RpcError, match="metrics type is unset"):
        both.collector.export(Signal.METRICS, request.SerializeToString())
    both.write_ours(Signal.METRICS, [record_of(Signal.METRICS, request.SerializeToString())])

    assert both.theirs.count("otel_metrics_gauge") == 0
    assert both.ours.count("otel_metrics_gauge") == 1


def test_every_exception_has_its_row_in_the_document() -> None:
    section = DOCUMENT.read_text().split("## Where values differ", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([^|]+?) \| ", section, re.MULTILINE)

    assert set(rows) - {"what was sent", "---"} == {each[0] for each in DIFFERENCES} | {"metric without data"}
