"""THE list of columns: name, ClickHouse type and codec of every base table. DDL, decoder and inserts all follow it.

Names, order and values are the OpenTelemetry ClickHouse exporter's; what we add stands after them and is marked
`added`. Types may be more exact than the exporter's (LowCardinality where values repeat, nanoseconds where it keeps
seconds).
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.signals import Signal

LC = "LowCardinality(String)"
SHARED_MAP = f"Map({LC}, {LC})"
MAP = f"Map({LC}, String)"
TIME = "DateTime64(9)"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `codec` is empty for the table's default codec; `added` marks what the exporter does not have."""

    name: str
    type: str
    codec: str = ""
    added: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One base table. `time` is the column that partitions, sorts and expires its rows."""

    name: str
    signal: Signal
    time: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in insert order."""
        return tuple(column.name for column in self.columns)


def _columns(text: str, *, added: bool = False) -> tuple[Column, ...]:
    # One column a line: NAME TYPE [; CODEC]
    columns = []
    for line in text.strip().splitlines():
        definition, _, codec = line.partition(";")
        name, _, type_name = definition.strip().partition(" ")
        columns.append(Column(name, type_name.strip(), codec.strip(), added))
    return tuple(columns)


_RESOURCE_EXTRAS = f"""
    TenantId {LC}
    ServiceVersion {LC}
    Environment {LC}
    ResourceDroppedAttributesCount UInt32
"""

_TRACES = _columns(f"""
    Timestamp {TIME}
    TraceId String
    SpanId String
    ParentSpanId String
    TraceState String
    SpanName {LC}
    SpanKind {LC}
    ServiceName {LC}
    ResourceAttributes {SHARED_MAP}
    ScopeName {LC}
    ScopeVersion {LC}
    SpanAttributes {MAP}
    Duration UInt64
    StatusCode {LC}
    StatusMessage String
    Events.Timestamp Array({TIME})
    Events.Name Array({LC})
    Events.Attributes Array({MAP})
    Links.TraceId Array(String)
    Links.SpanId Array(String)
    Links.TraceState Array(String)
    Links.Attributes Array({MAP})
""") + _columns(
    f"""
    {_RESOURCE_EXTRAS.strip()}
    ResourceSchemaUrl {LC}
    ScopeAttributes {SHARED_MAP}
    ScopeDroppedAttributesCount UInt32
    ScopeSchemaUrl {LC}
    SpanFlags UInt32
    DroppedAttributesCount UInt32
    DroppedEventsCount UInt32
    DroppedLinksCount UInt32
    Events.DroppedAttributesCount Array(UInt32)
    Links.Flags Array(UInt32)
    Links.DroppedAttributesCount Array(UInt32)
""",
    added=True,
)

_LOGS = _columns(f"""
    Timestamp {TIME}
    TraceId String
    SpanId String
    TraceFlags UInt8
    SeverityText {LC}
    SeverityNumber UInt8
    ServiceName {LC}
    Body String
    ResourceSchemaUrl {LC}
    ResourceAttributes {SHARED_MAP}
    ScopeSchemaUrl {LC}
    ScopeName {LC}
    ScopeVersion {LC}
    ScopeAttributes {SHARED_MAP}
    LogAttributes {MAP}
    EventName {LC}
""") + _columns(
    f"""
    {_RESOURCE_EXTRAS.strip()}
    ScopeDroppedAttributesCount UInt32
    ObservedTimestamp {TIME}
    DroppedAttributesCount UInt32
    LogFlags UInt32
""",
    added=True,
)

_METRIC = f"""
    ResourceAttributes {SHARED_MAP}
    ResourceSchemaUrl {LC}
    ScopeName {LC}
    ScopeVersion {LC}
    ScopeAttributes {SHARED_MAP}
    ScopeDroppedAttrCount UInt32
    ScopeSchemaUrl {LC}
    ServiceName {LC}
    MetricName {LC}
    MetricDescription {LC}
    MetricUnit {LC}
    Attributes {MAP}
    StartTimeUnix {TIME}
    TimeUnix {TIME}
"""
_EXEMPLARS = f"""
    Exemplars.FilteredAttributes Array({MAP})
    Exemplars.TimeUnix Array({TIME})
    Exemplars.Value Array(Float64)
    Exemplars.SpanId Array(String)
    Exemplars.TraceId Array(String)
"""
_NUMBER = f"Value Float64\nFlags UInt32\n{_EXEMPLARS.strip()}"
_NUMBER_ADDED = "ValueInt Int64\nIsInt Bool"
_TEMPORAL = "AggregationTemporality Int32"
_PRESENT = "HasSum Bool\nHasMin Bool\nHasMax Bool"


def _metric(name: str, own: str, added: str = "") -> Table:
    columns = _columns(f"{_METRIC.strip()}\n{own.strip()}")
    columns += _columns(f"{_RESOURCE_EXTRAS.strip()}\n{added.strip()}", added=True)
    return Table(name, Signal.METRICS, "TimeUnix", columns)


TRACES = Table("otel_traces", Signal.TRACES, "Timestamp", _TRACES)
LOGS = Table("otel_logs", Signal.LOGS, "Timestamp", _LOGS)
GAUGE = _metric("otel_metrics_gauge", _NUMBER, _NUMBER_ADDED)
SUM = _metric("otel_metrics_sum", f"{_NUMBER}\n{_TEMPORAL}\nIsMonotonic Bool", _NUMBER_ADDED)
HISTOGRAM = _metric(
    "otel_metrics_histogram",
    f"""
    Count UInt64
    Sum Float64
    BucketCounts Array(UInt64)
    ExplicitBounds Array(Float64)
    {_EXEMPLARS.strip()}
    Flags UInt32
    Min Float64
    Max Float64
    {_TEMPORAL}
""",
    _PRESENT,
)
EXPONENTIAL_HISTOGRAM = _metric(
    "otel_metrics_exponential_histogram",
    f"""
    Count UInt64
    Sum Float64
    Scale Int32
    ZeroCount UInt64
    PositiveOffset Int32
    PositiveBucketCounts Array(UInt64)
    NegativeOffset Int32
    NegativeBucketCounts Array(UInt64)
    {_EXEMPLARS.strip()}
    Flags UInt32
    Min Float64
    Max Float64
    {_TEMPORAL}
""",
    f"{_PRESENT}\nZeroThreshold Float64",
)
SUMMARY = _metric(
    "otel_metrics_summary",
    """
    Count UInt64
    Sum Float64
    ValueAtQuantiles.Quantile Array(Float64)
    ValueAtQuantiles.Value Array(Float64)
    Flags UInt32
""",
)

TABLES: tuple[Table, ...] = (TRACES, LOGS, GAUGE, SUM, HISTOGRAM, EXPONENTIAL_HISTOGRAM, SUMMARY)
BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}


def tables_of(signal: Signal) -> tuple[Table, ...]:
    """The base tables that a signal's batch may write to, in insert order."""
    return tuple(table for table in TABLES if table.signal == signal)
