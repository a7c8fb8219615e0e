"""An SDK exports to a real Collector, which sends the same on to our ingest and to its own ClickHouse exporter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from schemas.columns import BY_NAME
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.faults.pipeline import pipeline, wait_until
from tests.otel_collector import require_collector
from tests.rows_in_store import Database, database
from tests.sdk_exports import SERVICE, export_orders
from tests.testbed.collector import Collector
from tests.testbed.collector_configs import clickhouse_out, otlp_in, otlp_out, pipelines
from tests.testbed.parts import free_ports

OURS = f"ServiceName = '{SERVICE}'"


def rows_of_the_exporter(made: Database, table: str) -> Counter[str]:
    """The service's rows with the columns that the Collector's exporter writes."""
    names = [column.name for column in BY_NAME[table].columns if not column.added]
    return Counter(repr({name: row[name] for name in names}) for row in made.rows(table, OURS))


def test_what_an_sdk_exports_has_equal_rows_both_ways(tmp_path: Path) -> None:
    require_collector()
    http_port, native_port, otlp_port = free_ports(3)
    with (
        pipeline(tmp_path) as up,
        EmbeddedStore(tmp_path / "store", StoreSettings(http_port=http_port, native_port=native_port)) as store,
        database(store, "theirs") as theirs,
    ):
        up.start()
        wait_until(lambda: up.number("SELECT count() FROM ledger") > 0, "our pipeline")
        exporters = {
            **clickhouse_out(native_port, store.writer_user, store.writer_password, database="theirs"),
            **otlp_out(f"127.0.0.1:{up.grpc_port}"),
        }
        with Collector(tmp_path / "collector", pipelines(otlp_in(otlp_port), exporters)):
            exported = export_orders(f"127.0.0.1:{otlp_port}")
        for table, count in exported.rows.items():
            wait_until(
                lambda t=table, n=count: up.number(f"SELECT count() FROM {t} WHERE {OURS}") >= n, f"rows of {table}"
            )

        ours = Database.of_reader(f"http://127.0.0.1:{up.store_port}")
        for table, count in exported.rows.items():
            rows = rows_of_the_exporter(ours, table)
            assert rows.total() == count, table
            assert rows == rows_of_the_exporter(theirs, table), table
        # What the exporter writes enters our rollups like anything else.
        calls = f"SELECT sum(Calls) AS calls, sum(Errors) AS errors FROM {{db}}.spans_1m WHERE {OURS}"
        assert ours.ask(calls) == theirs.ask(calls) == [{"calls": exported.rows["otel_traces"], "errors": 4}]
        ours.client.close()
