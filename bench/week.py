"""A week of telemetry made inside a store: as many spans, points and log records as asked for, over seven days.

Twenty services of 25 operations; twelve spans a trace, 5 % errors; metrics scraped every 15 s (70 % of points are of
sums, 10 % of gauges, 15 % of histograms, 5 % of exponential histograms), so that more points are more series; log lines
with three numbers. Rows go through the base tables, so that every rollup is made as it lands. Only the edges of the
service map are written as the settler leaves them: to make those of a week from spans takes longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from bench.progress import say

WEEK_S = 7 * 86_400
SCRAPE_S = 15
SERVICES = 20
# Rows of an insert, as a busy pipeline's batches are.
_INSERT_ROWS = 100_000
_RESOURCE = (
    "map('service.name', ServiceName, 'service.version', ServiceVersion, 'deployment.environment.name', 'production',"
    " 'host.name', concat('host-', toString(intHash64(number) % 50)), 'cloud.region', 'eu-west-1')"
)
_SPANS = f"""INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName,
    ServiceVersion, Environment, ResourceAttributes, SpanAttributes, Duration, StatusCode)
    SELECT
    fromUnixTimestamp64Nano(toInt64({{from_s}}) * 1000000000 + toInt64(intDiv(number, 12) * {{span_step_ns}} * 12))
        AS Timestamp,
    lower(hex(sipHash128(intDiv(number, 12)))), lower(hex(sipHash64(number))),
    if(number % 12 = 0, '', lower(hex(sipHash64(number - 1)))),
    concat('GET /resource-', toString(intHash64(number) % 25)),
    ['Server', 'Client', 'Internal'][1 + number % 3],
    concat('service-', toString(intHash32(number) % {SERVICES})) AS ServiceName,
    if(Timestamp < toDateTime({{from_s}} + {WEEK_S // 2}), '1.0.0', '1.1.0') AS ServiceVersion, 'production',
    {_RESOURCE},
    map('http.request.method', 'GET', 'http.route', '/resource',
        'url.path', concat('/resource/', toString(number % 9973)), 'http.response.status_code', '200',
        'user.id', toString(intHash64(number) % 100000)),
    toUInt64(exp(13 + 3 * (sipHash64(number) % 10000) / 10000)),
    if(sipHash64(number, 1) % 20 = 0, 'Error', 'Unset')
    FROM numbers({{first}}, {{count}})"""
_LOGS = f"""INSERT INTO otel_logs (Timestamp, TraceId, SeverityText, SeverityNumber, ServiceName, ServiceVersion,
    Environment, Body, ResourceAttributes, LogAttributes)
    SELECT fromUnixTimestamp64Nano(toInt64({{from_s}}) * 1000000000 + toInt64(number * {{span_step_ns}})) AS Timestamp,
    lower(hex(sipHash128(intDiv(number, 12)))),
    ['INFO', 'INFO', 'INFO', 'WARN', 'ERROR'][1 + intHash64(number) % 5] AS SeverityText,
    [9, 9, 9, 13, 17][1 + intHash64(number) % 5],
    concat('service-', toString(intHash32(number) % {SERVICES})) AS ServiceName, '1.0.0' AS ServiceVersion,
    'production',
    concat('order ', toString(intHash64(number) % 1000000), ' for user ', toString(number % 9973), ' took ',
        toString(intHash32(number) % 900), ' ms'),
    {_RESOURCE}, map('code.function.name', 'checkout')
    FROM numbers({{first}}, {{count}})"""
# Series by series within a scrape; all series of a service and metric differ in one attribute.
_POINT = f"""intDiv(number, {{series}}) AS Tick, number % {{series}} AS Series,
    fromUnixTimestamp64Nano((toInt64({{from_s}}) + toInt64(Tick) * {SCRAPE_S}) * 1000000000) AS TimeUnix,
    fromUnixTimestamp64Nano(toInt64({{from_s}}) * 1000000000) AS StartTimeUnix,
    concat('service-', toString(Series % {SERVICES})) AS ServiceName,
    '1.0.0' AS ServiceVersion, 'production' AS Environment,
    map('service.name', ServiceName, 'service.version', '1.0.0') AS ResourceAttributes,
    map('http.route', concat('/resource-', toString(intDiv(Series, {SERVICES})))) AS Attributes"""
_POINT_COLUMNS = "TimeUnix, StartTimeUnix, ServiceName, ServiceVersion, Environment, ResourceAttributes, Attributes"


def _points(kind: str, metric: str, columns: str, values: str) -> str:
    return f"""INSERT INTO otel_metrics_{kind} (MetricName, {_POINT_COLUMNS}, {columns})
        SELECT '{metric}', {_POINT_COLUMNS}, {values}
        FROM (SELECT number, {_POINT} FROM numbers({{first}}, {{count}}))"""


_METRICS: tuple[tuple[float, str], ...] = (
    (0.7, _points("sum", "requests", "Value, IsMonotonic, AggregationTemporality", "Tick * 10 + Series % 7, true, 2")),
    (0.1, _points("gauge", "memory", "Value", "toFloat64(sipHash64(number) % 1000)")),
    (0.15, _points(
        "histogram", "duration", "Count, Sum, BucketCounts, ExplicitBounds, AggregationTemporality",
        "Tick * 36, toFloat64(Tick * 18), arrayMap(i -> Tick * i, range(1, 9)), [5, 10, 25, 50, 100, 250, 500], 2")),
    (0.05, _points(
        "exponential_histogram", "latency",
        "Count, Sum, Scale, PositiveOffset, PositiveBucketCounts, AggregationTemporality",
        "Tick * 820, toFloat64(Tick * 410), 3, -10, arrayMap(i -> Tick * i, range(1, 41)), 2")),
)  # fmt: skip
_EDGES = f"""INSERT INTO service_edges_{{tier}}
    SELECT toDateTime({{from_s}} + intDiv(number, 60) * {{seconds}}) AS At, '' AS Tenant, 'production' AS Place,
    concat('service-', toString(number % {SERVICES})) AS Client,
    concat('service-', toString((number % {SERVICES} + 1 + number % 3) % {SERVICES})) AS Server, 'call' AS Way,
    100, 5, 100000000, map(toUInt16(160 + number % 40), toUInt64(100)),
    argMaxState(lower(hex(sipHash128(number))), toUInt64(number))
    FROM numbers({WEEK_S} / {{seconds}} * 60) GROUP BY number"""


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days that end at `to_s`; `items` spans, as many points and as many log records."""

    from_s: int
    items: int

    @property
    def to_s(self) -> int:
        """The end, Unix seconds."""
        return self.from_s + WEEK_S

    def trace_ids(self, client: Client, count: int) -> list[str]:
        """Ids of `count` traces from all over the week, found without reading any."""
        step = self.items // 12 // count
        found = client.query(f"SELECT lower(hex(sipHash128(toUInt64(number * {step})))) FROM numbers({count})")
        return [row[0] for row in found.result_rows]

    def _statements(self) -> Iterator[tuple[str, str]]:
        # Spans of all 12 of a trace have one time; what is left over of the week stays empty.
        span_step_ns = WEEK_S * 10**9 // self.items
        for name, text in (("spans", _SPANS), ("log records", _LOGS)):
            for first in range(0, self.items, _INSERT_ROWS):
                count = min(_INSERT_ROWS, self.items - first)
                yield name, text.format(from_s=self.from_s, span_step_ns=span_step_ns, first=first, count=count)
        for share, text in _METRICS:
            series = max(round(self.items * share) * SCRAPE_S // WEEK_S, SERVICES)
            points = series * (WEEK_S // SCRAPE_S)
            for first in range(0, points, _INSERT_ROWS):
                count = min(_INSERT_ROWS, points - first)
                yield "points", text.format(from_s=self.from_s, series=series, first=first, count=count)
        for tier, seconds in (("1m", 60), ("1h", 3600)):
            yield "edges of the service map", _EDGES.format(from_s=self.from_s, tier=tier, seconds=seconds)

    def fill(self, client: Client) -> None:
        """Write it all into the client's database, saying how far it is."""
        statements = list(self._statements())
        for done, (name, statement) in enumerate(statements):
            if done % 50 == 0:
                say(f"writing {name}: insert {done + 1} of {len(statements)}")
            client.command(statement)
