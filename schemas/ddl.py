"""Every object of our database as SQL, in creation order: base tables from the columns, the rest from `tables/*.sql`.

The choices of sort key, codecs, indexes and part formats are measured: docs/decisions/0002-table-layout.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from schemas import sql
from schemas.columns import TABLES, Table
from schemas.settings import RetentionSettings
from schemas.signals import Signal

VERSION = 5
# Tokens remembered by each table, whoever inserted: docs/decisions/0008-deduplication-window.md has the arithmetic.
DEDUPLICATION_WINDOW = 10_000

# An acknowledged insert survives a power cut; measured to cost nothing at this block size.
_COMMON = (
    f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}, fsync_after_insert = 1, fsync_part_directory = 1"
)
_PARTS = (
    "ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, "
    "min_level_for_wide_part = 1, "
    "merge_selector_base = 15, auto_statistics_types = ''"
)
# What a table may keep past its retention before its parts go: parts are dropped whole.
GRACE_DAYS = 1

_TRACE_ID = "TraceId TYPE bloom_filter(0.001) GRANULARITY 1"
_INDEXES: Mapping[Signal, Mapping[str, str]] = {
    Signal.TRACES: {
        "idx_trace_id": _TRACE_ID,
        "idx_time": "Timestamp TYPE minmax GRANULARITY 1",
        "idx_duration": "Duration TYPE minmax GRANULARITY 1",
    },
    Signal.LOGS: {
        "idx_trace_id": _TRACE_ID,
        "idx_time": "Timestamp TYPE minmax GRANULARITY 1",
        # docs/decisions/0011-token-filter-for-log-bodies.md
        "idx_lower_body": "lower(Body) TYPE tokenbf_v1(16384, 3, 0) GRANULARITY 1",
    },
    Signal.METRICS: {"idx_time": "TimeUnix TYPE minmax GRANULARITY 1"},
}
_SORT = {
    Signal.TRACES: "(toStartOfFiveMinutes(Timestamp), ServiceName)",
    Signal.LOGS: "(toStartOfFiveMinutes(Timestamp), ServiceName)",
    Signal.METRICS: "(toStartOfHour(TimeUnix), ServiceName, MetricName)",
}
# Columns that the exporter materializes from resource attributes; aliases cost nothing on insert.
_KUBERNETES = (
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "deployment.environment.name",
)
# A line of a table's file: its column and all that is said of it.
_COLUMN = re.compile(r"^    ([A-Z]\w*) (.+?),?$", re.MULTILINE)
# What the view of each kind of metric says of its points.
_TEMPORALITY = "multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '')"
_METRIC_KINDS: Mapping[str, Mapping[str, str]] = {
    kind: {"kind": kind, "temporality": temporality, "monotonic": monotonic}
    for kind, temporality, monotonic in (
        ("gauge", "''", "false"),
        ("sum", _TEMPORALITY, "IsMonotonic"),
        ("histogram", _TEMPORALITY, "true"),
        ("exponential_histogram", _TEMPORALITY, "true"),
        # The protocol's only legacy kind: its counts are cumulative by definition.
        ("summary", "'cumulative'", "true"),
    )
}
# Hours say when a cell was seen first and last, so that an inventory needs no table of its own. Rows of an earlier
# release have none: they were seen in their hour.
_SEEN = """,
    FirstSeen SimpleAggregateFunction(min, DateTime) DEFAULT Time,
    LastSeen SimpleAggregateFunction(max, DateTime) DEFAULT Time"""
_MINUTES = {"tier": "1m", "seen": "", "seen_from": "", "start_of": "cell.Time"}
_HOURS = {
    "tier": "1h",
    "seen": _SEEN,
    "seen_from": ",\n    min(cell.Time) AS FirstSeen,\n    max(cell.Time) AS LastSeen",
    "start_of": "toStartOfHour(cell.Time, 'UTC')",
}
# Cells of spans are kept by operation, and by service alone for what is asked of all of them at once.
_SPANS = {
    "of": "spans",
    "operation_column": "\n    SpanName LowCardinality(String),",
    "operation_group": "\n    SpanName,",
    "operation_key": "SpanName, ",
}
_SERVICES = {"of": "services", "operation_column": "", "operation_group": "", "operation_key": ""}
# How far before its period a view of increases looks for the point that came before.
_LOOKBACK: Mapping[str, Mapping[str, str]] = {
    "1m": {"tier": "1m", "lookback_s": "3600"},
    "1h": {"tier": "1h", "lookback_s": "86400"},
}
# Objects in creation order. Several may come from one file, which then names what differs between them.
_FILES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "otel_traces_trace_id_ts": ("otel_traces_trace_id_ts", {}),
    "otel_traces_trace_id_ts_mv": ("otel_traces_trace_id_ts_mv", {}),
    "spans_1m": ("spans", _MINUTES | _SPANS),
    "spans_1m_mv": ("spans_1m_mv", {}),
    "spans_1h": ("spans", _HOURS | _SPANS),
    "spans_1h_mv": ("spans_of_minutes_mv", _HOURS | _SPANS | {"minutes": "spans"}),
    "services_1m": ("spans", _MINUTES | _SERVICES),
    "services_1m_mv": ("spans_of_minutes_mv", _MINUTES | _SERVICES | {"minutes": "spans"}),
    "services_1h": ("spans", _HOURS | _SERVICES),
    "services_1h_mv": ("spans_of_minutes_mv", _HOURS | _SERVICES | {"minutes": "services"}),
    "schema_versions": ("schema_versions", {}),
    "service_cells_1m": ("service_cells", {"tier": "1m", "seen_columns": ""}),
    "service_cells_1h": ("service_cells", {"tier": "1h", "seen_columns": ", FirstSeen, LastSeen"}),
    "service_red_1m": ("service_red", {"tier": "1m"}),
    "service_red_1h": ("service_red", {"tier": "1h"}),
    "logs_1m": ("logs_1m", {}),
    "logs_1m_mv": ("logs_1m_mv", {}),
    "metrics_1d": ("metrics_1d", {}),
    **{f"metrics_1d_{kind}_mv": ("metrics_1d_mv", values) for kind, values in _METRIC_KINDS.items()},
    "numbers_1m": ("numbers", {"tier": "1m"}),
    **{f"numbers_1m_{kind}_mv": ("numbers_1m_mv", _METRIC_KINDS[kind]) for kind in ("gauge", "sum")},
    "numbers_1m_summary_mv": ("numbers_1m_summary_mv", {}),
    "numbers_1h": ("numbers", {"tier": "1h"}),
    "numbers_1h_mv": ("series_1h_mv", {"series": "numbers"}),
    "counter_1m": ("counter", _LOOKBACK["1m"]),
    "counter_1h": ("counter", _LOOKBACK["1h"]),
    "gauge_1m": ("gauge", {"tier": "1m"}),
    "gauge_1h": ("gauge", {"tier": "1h"}),
    "histograms_1m": ("histograms", {"tier": "1m"}),
    "histograms_1m_mv": ("histograms_1m_mv", _METRIC_KINDS["histogram"]),
    "histograms_1h": ("histograms", {"tier": "1h"}),
    "histograms_1h_mv": ("series_1h_mv", {"series": "histograms"}),
    "histogram_1m": ("histogram", _LOOKBACK["1m"]),
    "histogram_1h": ("histogram", _LOOKBACK["1h"]),
    "histogram_quantile_1m": ("histogram_quantile", {"tier": "1m"}),
    "histogram_quantile_1h": ("histogram_quantile", {"tier": "1h"}),
    "exponential_histograms_1m": ("exponential_histograms", {"tier": "1m"}),
    "exponential_histograms_1m_mv": ("exponential_histograms_1m_mv", _METRIC_KINDS["exponential_histogram"]),
    "exponential_histograms_1h": ("exponential_histograms", {"tier": "1h"}),
    "exponential_histograms_1h_mv": ("series_1h_mv", {"series": "exponential_histograms"}),
    "exponential_histogram_gains_1m": ("exponential_histogram_gains", _LOOKBACK["1m"]),
    "exponential_histogram_1m": ("exponential_histogram", {"tier": "1m"}),
    "exponential_histogram_gains_1h": ("exponential_histogram_gains", _LOOKBACK["1h"]),
    "exponential_histogram_1h": ("exponential_histogram", {"tier": "1h"}),
    "exponential_histogram_quantile_1m": ("exponential_histogram_quantile", {"tier": "1m"}),
    "exponential_histogram_quantile_1h": ("exponential_histogram_quantile", {"tier": "1h"}),
    "inventory_services": ("inventory_services", {}),
    "inventory_versions": ("inventory_versions", {}),
    "inventory_operations": ("inventory_operations", {}),
    "inventory_metrics": ("inventory_metrics", {}),
    "deployments": ("deployments", {}),
    "service_edges_1m": ("service_edges", {"tier": "1m"}),
    "service_edges_1h": ("service_edges", {"tier": "1h"}),
    "service_edges_settled": ("service_edges_settled", {}),
    "service_addresses": ("service_addresses", {}),
    "service_map_1m": ("service_map", {"tier": "1m"}),
    "service_map_1h": ("service_map", {"tier": "1h"}),
    "otel_metrics_exp_histogram": ("otel_metrics_exp_histogram", {}),
    "series_admitted": ("series_admitted", {}),
    "series_overflows": ("series_overflows", {}),
    "cardinality": ("cardinality", {}),
    "redaction_policies": ("redaction_policies", {}),
    "ledger": ("ledger", {}),
}


@dataclass(frozen=True, slots=True)
class Definition:
    """One table or view.

    Attributes:
        name: unqualified.
        create: `CREATE ... IF NOT EXISTS`.
        ttl: the TTL expression, '' for none.
        query: a view's SELECT, '' for tables.
        table: the base table that it renders, if any.
        columns: of a table, by name, as in a CREATE or ADD COLUMN.
        indexes: the same.
    """

    name: str
    create: str
    ttl: str = ""
    query: str = ""
    table: Table | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)

    @property
    def keeps_tokens(self) -> bool:
        """Whether it is a table, which remembers the tokens of inserts."""
        return "\nENGINE = " in self.create

    @property
    def checksum(self) -> str:
        """Identifies the definition; kept as the object's comment."""
        return hashlib.sha256(self.create.encode()).hexdigest()[:16]


def retention_days(signal: Signal, retention: RetentionSettings) -> int:
    """Days that a signal's base tables are kept at least."""
    return {
        Signal.TRACES: retention.traces_days,
        Signal.LOGS: retention.logs_days,
        Signal.METRICS: retention.metrics_days,
    }[signal]


def column_sql(name: str, type_name: str, codec: str) -> str:
    """One column of a CREATE or ADD COLUMN."""
    quoted = f"`{name}` {type_name}"
    return f"{quoted} CODEC({codec})" if codec else quoted


def _base_table(table: Table, database: str, retention: RetentionSettings) -> Definition:
    columns = {column.name: column_sql(column.name, column.type, column.codec) for column in table.columns}
    lines = list(columns.values())
    if table.signal is Signal.LOGS:
        lines += [
            f"`__otel_materialized_{key}` LowCardinality(String) ALIAS ResourceAttributes['{key}']"
            for key in _KUBERNETES
        ]
    indexes = {name: f"INDEX {name} {sql}" for name, sql in _INDEXES[table.signal].items()}
    lines += indexes.values()
    ttl = f"toDateTime({table.time}) + toIntervalDay({retention_days(table.signal, retention) + GRACE_DAYS})"
    body = ",\n    ".join(lines)
    create = (
        f"CREATE TABLE IF NOT EXISTS {database}.{table.name}\n(\n    {body}\n)\nENGINE = MergeTree\n"
        f"PARTITION BY toDate({table.time})\nORDER BY {_SORT[table.signal]}\nTTL {ttl}\n"
        f"SETTINGS {_COMMON}, {_PARTS}"
    )
    return Definition(table.name, create, ttl, "", table, columns, indexes)


def _from_file(
    name: str, file: str, values: Mapping[str, str], database: str, retention: RetentionSettings
) -> Definition:
    text = sql.read(resources.files("schemas").joinpath("tables"), file).strip()
    partitioned = "PARTITION BY" in text
    hourly_days = retention.hourly_rollups_days + GRACE_DAYS
    minute_days = retention.rollups_days + GRACE_DAYS
    create = text.format(
        database=database,
        settings=f"{_COMMON}, {_PARTS}" if partitioned else _COMMON,
        traces_ttl_days=retention.traces_days + GRACE_DAYS,
        rollups_ttl_days=minute_days,
        hourly_rollups_ttl_days=hourly_days,
        tier_ttl_days=hourly_days if values.get("tier") == "1h" else minute_days,
        **values,
    )
    _, _, rest = create.partition("\nTTL ")
    ttl = rest.partition("\n")[0]
    query = create.partition(" AS\n")[2] if " VIEW " in create.partition("\n")[0] else ""
    columns = {} if query else dict(_COLUMN.findall(create.partition("\nENGINE")[0]))
    return Definition(
        name, create, ttl, query, None, {column: f"`{column}` {rest}" for column, rest in columns.items()}
    )


def definitions(database: str, retention: RetentionSettings) -> tuple[Definition, ...]:
    """All objects, tables before the views that need them."""
    return (
        *(_base_table(table, database, retention) for table in TABLES),
        *(_from_file(name, file, values, database, retention) for name, (file, values) in _FILES.items()),
    )
