CREATE TABLE IF NOT EXISTS otel.otel_traces
(
    `Timestamp` DateTime64(9),
    `TraceId` String,
    `SpanId` String,
    `ParentSpanId` String,
    `TraceState` String,
    `SpanName` LowCardinality(String),
    `SpanKind` LowCardinality(String),
    `ServiceName` LowCardinality(String),
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `SpanAttributes` Map(LowCardinality(String), String),
    `Duration` UInt64,
    `StatusCode` LowCardinality(String),
    `StatusMessage` String,
    `Events.Timestamp` Array(DateTime64(9)),
    `Events.Name` Array(LowCardinality(String)),
    `Events.Attributes` Array(Map(LowCardinality(String), String)),
    `Links.TraceId` Array(String),
    `Links.SpanId` Array(String),
    `Links.TraceState` Array(String),
    `Links.Attributes` Array(Map(LowCardinality(String), String)),
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    `ResourceSchemaUrl` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeDroppedAttributesCount` UInt32,
    `ScopeSchemaUrl` LowCardinality(String),
    `SpanFlags` UInt32,
    `DroppedAttributesCount` UInt32,
    `DroppedEventsCount` UInt32,
    `DroppedLinksCount` UInt32,
    `Events.DroppedAttributesCount` Array(UInt32),
    `Links.Flags` Array(UInt32),
    `Links.DroppedAttributesCount` Array(UInt32),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_time Timestamp TYPE minmax GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName)
TTL toDateTime(Timestamp) + toIntervalDay(8)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_logs
(
    `Timestamp` DateTime64(9),
    `TraceId` String,
    `SpanId` String,
    `TraceFlags` UInt8,
    `SeverityText` LowCardinality(String),
    `SeverityNumber` UInt8,
    `ServiceName` LowCardinality(String),
    `Body` String,
    `ResourceSchemaUrl` LowCardinality(String),
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeSchemaUrl` LowCardinality(String),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `LogAttributes` Map(LowCardinality(String), String),
    `EventName` LowCardinality(String),
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    `ScopeDroppedAttributesCount` UInt32,
    `ObservedTimestamp` DateTime64(9),
    `DroppedAttributesCount` UInt32,
    `LogFlags` UInt32,
    `__otel_materialized_k8s.cluster.name` LowCardinality(String) ALIAS ResourceAttributes['k8s.cluster.name'],
    `__otel_materialized_k8s.container.name` LowCardinality(String) ALIAS ResourceAttributes['k8s.container.name'],
    `__otel_materialized_k8s.deployment.name` LowCardinality(String) ALIAS ResourceAttributes['k8s.deployment.name'],
    `__otel_materialized_k8s.namespace.name` LowCardinality(String) ALIAS ResourceAttributes['k8s.namespace.name'],
    `__otel_materialized_k8s.node.name` LowCardinality(String) ALIAS ResourceAttributes['k8s.node.name'],
    `__otel_materialized_k8s.pod.name` LowCardinality(String) ALIAS ResourceAttributes['k8s.pod.name'],
    `__otel_materialized_k8s.pod.uid` LowCardinality(String) ALIAS ResourceAttributes['k8s.pod.uid'],
    `__otel_materialized_deployment.environment.name` LowCardinality(String) ALIAS ResourceAttributes['deployment.environment.name'],
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_time Timestamp TYPE minmax GRANULARITY 1,
    INDEX idx_lower_body lower(Body) TYPE tokenbf_v1(16384, 3, 0) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName)
TTL toDateTime(Timestamp) + toIntervalDay(8)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_metrics_gauge
(
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ResourceSchemaUrl` LowCardinality(String),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeDroppedAttrCount` UInt32,
    `ScopeSchemaUrl` LowCardinality(String),
    `ServiceName` LowCardinality(String),
    `MetricName` LowCardinality(String),
    `MetricDescription` LowCardinality(String),
    `MetricUnit` LowCardinality(String),
    `Attributes` Map(LowCardinality(String), String),
    `StartTimeUnix` DateTime64(9),
    `TimeUnix` DateTime64(9),
    `Value` Float64,
    `Flags` UInt32,
    `Exemplars.FilteredAttributes` Array(Map(LowCardinality(String), String)),
    `Exemplars.TimeUnix` Array(DateTime64(9)),
    `Exemplars.Value` Array(Float64),
    `Exemplars.SpanId` Array(String),
    `Exemplars.TraceId` Array(String),
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    `ValueInt` Int64,
    `IsInt` Bool,
    INDEX idx_time TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (toStartOfHour(TimeUnix), ServiceName, MetricName)
TTL toDateTime(TimeUnix) + toIntervalDay(31)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_metrics_sum
(
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ResourceSchemaUrl` LowCardinality(String),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeDroppedAttrCount` UInt32,
    `ScopeSchemaUrl` LowCardinality(String),
    `ServiceName` LowCardinality(String),
    `MetricName` LowCardinality(String),
    `MetricDescription` LowCardinality(String),
    `MetricUnit` LowCardinality(String),
    `Attributes` Map(LowCardinality(String), String),
    `StartTimeUnix` DateTime64(9),
    `TimeUnix` DateTime64(9),
    `Value` Float64,
    `Flags` UInt32,
    `Exemplars.FilteredAttributes` Array(Map(LowCardinality(String), String)),
    `Exemplars.TimeUnix` Array(DateTime64(9)),
    `Exemplars.Value` Array(Float64),
    `Exemplars.SpanId` Array(String),
    `Exemplars.TraceId` Array(String),
    `AggregationTemporality` Int32,
    `IsMonotonic` Bool,
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    `ValueInt` Int64,
    `IsInt` Bool,
    INDEX idx_time TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (toStartOfHour(TimeUnix), ServiceName, MetricName)
TTL toDateTime(TimeUnix) + toIntervalDay(31)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_metrics_histogram
(
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ResourceSchemaUrl` LowCardinality(String),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeDroppedAttrCount` UInt32,
    `ScopeSchemaUrl` LowCardinality(String),
    `ServiceName` LowCardinality(String),
    `MetricName` LowCardinality(String),
    `MetricDescription` LowCardinality(String),
    `MetricUnit` LowCardinality(String),
    `Attributes` Map(LowCardinality(String), String),
    `StartTimeUnix` DateTime64(9),
    `TimeUnix` DateTime64(9),
    `Count` UInt64,
    `Sum` Float64,
    `BucketCounts` Array(UInt64),
    `ExplicitBounds` Array(Float64),
    `Exemplars.FilteredAttributes` Array(Map(LowCardinality(String), String)),
    `Exemplars.TimeUnix` Array(DateTime64(9)),
    `Exemplars.Value` Array(Float64),
    `Exemplars.SpanId` Array(String),
    `Exemplars.TraceId` Array(String),
    `Flags` UInt32,
    `Min` Float64,
    `Max` Float64,
    `AggregationTemporality` Int32,
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    `HasSum` Bool,
    `HasMin` Bool,
    `HasMax` Bool,
    INDEX idx_time TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (toStartOfHour(TimeUnix), ServiceName, MetricName)
TTL toDateTime(TimeUnix) + toIntervalDay(31)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_metrics_exponential_histogram
(
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ResourceSchemaUrl` LowCardinality(String),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeDroppedAttrCount` UInt32,
    `ScopeSchemaUrl` LowCardinality(String),
    `ServiceName` LowCardinality(String),
    `MetricName` LowCardinality(String),
    `MetricDescription` LowCardinality(String),
    `MetricUnit` LowCardinality(String),
    `Attributes` Map(LowCardinality(String), String),
    `StartTimeUnix` DateTime64(9),
    `TimeUnix` DateTime64(9),
    `Count` UInt64,
    `Sum` Float64,
    `Scale` Int32,
    `ZeroCount` UInt64,
    `PositiveOffset` Int32,
    `PositiveBucketCounts` Array(UInt64),
    `NegativeOffset` Int32,
    `NegativeBucketCounts` Array(UInt64),
    `Exemplars.FilteredAttributes` Array(Map(LowCardinality(String), String)),
    `Exemplars.TimeUnix` Array(DateTime64(9)),
    `Exemplars.Value` Array(Float64),
    `Exemplars.SpanId` Array(String),
    `Exemplars.TraceId` Array(String),
    `Flags` UInt32,
    `Min` Float64,
    `Max` Float64,
    `AggregationTemporality` Int32,
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    `HasSum` Bool,
    `HasMin` Bool,
    `HasMax` Bool,
    `ZeroThreshold` Float64,
    INDEX idx_time TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (toStartOfHour(TimeUnix), ServiceName, MetricName)
TTL toDateTime(TimeUnix) + toIntervalDay(31)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_metrics_summary
(
    `ResourceAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ResourceSchemaUrl` LowCardinality(String),
    `ScopeName` LowCardinality(String),
    `ScopeVersion` LowCardinality(String),
    `ScopeAttributes` Map(LowCardinality(String), LowCardinality(String)),
    `ScopeDroppedAttrCount` UInt32,
    `ScopeSchemaUrl` LowCardinality(String),
    `ServiceName` LowCardinality(String),
    `MetricName` LowCardinality(String),
    `MetricDescription` LowCardinality(String),
    `MetricUnit` LowCardinality(String),
    `Attributes` Map(LowCardinality(String), String),
    `StartTimeUnix` DateTime64(9),
    `TimeUnix` DateTime64(9),
    `Count` UInt64,
    `Sum` Float64,
    `ValueAtQuantiles.Quantile` Array(Float64),
    `ValueAtQuantiles.Value` Array(Float64),
    `Flags` UInt32,
    `TenantId` LowCardinality(String),
    `ServiceVersion` LowCardinality(String),
    `Environment` LowCardinality(String),
    `ResourceDroppedAttributesCount` UInt32,
    INDEX idx_time TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (toStartOfHour(TimeUnix), ServiceName, MetricName)
TTL toDateTime(TimeUnix) + toIntervalDay(31)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.otel_traces_trace_id_ts
(
    TraceId String,
    Start DateTime,
    End DateTime
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
TTL Start + toIntervalDay(8)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.otel_traces_trace_id_ts_mv TO otel.otel_traces_trace_id_ts AS
SELECT
    TraceId,
    min(toDateTime(Timestamp)) AS Start,
    max(toDateTime(Timestamp)) AS End
FROM otel.otel_traces
WHERE TraceId != ''
GROUP BY TraceId;

CREATE TABLE IF NOT EXISTS otel.spans_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    SpanName LowCardinality(String),
    SpanKind LowCardinality(String),
    StatusCode LowCardinality(String),
    ServiceVersion LowCardinality(String),
    Environment LowCardinality(String),
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    DurationSum SimpleAggregateFunction(sum, UInt64),
    DurationBuckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, Time, TenantId, SpanName, SpanKind, StatusCode, ServiceVersion, Environment)
TTL Time + toIntervalDay(91)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.spans_1m_mv TO otel.spans_1m AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Time,
    TenantId,
    ServiceName,
    SpanName,
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    count() AS Calls,
    countIf(StatusCode = 'Error') AS Errors,
    sum(Duration) AS DurationSum,
    sumMap(map(toUInt16(floor(log2(greatest(Duration, 1)) * 8)), toUInt64(1))) AS DurationBuckets,
    argMaxState(TraceId, if(TraceId = '', 0, Duration)) AS SlowestTrace
FROM otel.otel_traces
GROUP BY Time, TenantId, ServiceName, SpanName, SpanKind, StatusCode, ServiceVersion, Environment;

CREATE TABLE IF NOT EXISTS otel.spans_1h
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    SpanName LowCardinality(String),
    SpanKind LowCardinality(String),
    StatusCode LowCardinality(String),
    ServiceVersion LowCardinality(String),
    Environment LowCardinality(String),
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    DurationSum SimpleAggregateFunction(sum, UInt64),
    DurationBuckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64),
    FirstSeen SimpleAggregateFunction(min, DateTime) DEFAULT Time,
    LastSeen SimpleAggregateFunction(max, DateTime) DEFAULT Time
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, Time, TenantId, SpanName, SpanKind, StatusCode, ServiceVersion, Environment)
TTL Time + toIntervalDay(401)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.spans_1h_mv TO otel.spans_1h AS
SELECT
    toStartOfHour(cell.Time, 'UTC') AS Time,
    TenantId,
    ServiceName,
    SpanName,
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    argMaxMergeState(cell.SlowestTrace) AS SlowestTrace,
    min(cell.Time) AS FirstSeen,
    max(cell.Time) AS LastSeen
FROM otel.spans_1m AS cell
GROUP BY Time, TenantId, ServiceName, SpanName, SpanKind, StatusCode, ServiceVersion, Environment;

CREATE TABLE IF NOT EXISTS otel.services_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    SpanKind LowCardinality(String),
    StatusCode LowCardinality(String),
    ServiceVersion LowCardinality(String),
    Environment LowCardinality(String),
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    DurationSum SimpleAggregateFunction(sum, UInt64),
    DurationBuckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, Time, TenantId, SpanKind, StatusCode, ServiceVersion, Environment)
TTL Time + toIntervalDay(91)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.services_1m_mv TO otel.services_1m AS
SELECT
    cell.Time AS Time,
    TenantId,
    ServiceName,
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    argMaxMergeState(cell.SlowestTrace) AS SlowestTrace
FROM otel.spans_1m AS cell
GROUP BY Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment;

CREATE TABLE IF NOT EXISTS otel.services_1h
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    SpanKind LowCardinality(String),
    StatusCode LowCardinality(String),
    ServiceVersion LowCardinality(String),
    Environment LowCardinality(String),
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    DurationSum SimpleAggregateFunction(sum, UInt64),
    DurationBuckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64),
    FirstSeen SimpleAggregateFunction(min, DateTime) DEFAULT Time,
    LastSeen SimpleAggregateFunction(max, DateTime) DEFAULT Time
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, Time, TenantId, SpanKind, StatusCode, ServiceVersion, Environment)
TTL Time + toIntervalDay(401)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.services_1h_mv TO otel.services_1h AS
SELECT
    toStartOfHour(cell.Time, 'UTC') AS Time,
    TenantId,
    ServiceName,
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    argMaxMergeState(cell.SlowestTrace) AS SlowestTrace,
    min(cell.Time) AS FirstSeen,
    max(cell.Time) AS LastSeen
FROM otel.services_1m AS cell
GROUP BY Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment;

CREATE TABLE IF NOT EXISTS otel.schema_versions
(
    Version UInt32,
    Checksum String,
    AppliedAt DateTime64(3) DEFAULT now64(3),
    Statements Array(String)
)
ENGINE = MergeTree
ORDER BY (Version, AppliedAt)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE VIEW IF NOT EXISTS otel.service_cells_1m AS
-- Cells of services, whatever their operations: `services_1m`, and before it came the cells of operations. A store that
-- began with it has it from the start; another has all of it from the next day on (as the audit reads it).
WITH
    (
        SELECT multiIf(
            countIf(Version >= 5) = 0, toDateTime('2106-01-01 00:00:00', 'UTC'),
            min(Version) >= 5, toDateTime(0, 'UTC'),
            toDateTime(toDate(minIf(AppliedAt, Version >= 5), 'UTC') + 1, 'UTC'))
        FROM otel.schema_versions
    ) AS since
SELECT Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment,
    Calls, Errors, DurationSum, DurationBuckets, SlowestTrace
FROM otel.services_1m
WHERE Time >= since
UNION ALL
SELECT Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment,
    Calls, Errors, DurationSum, DurationBuckets, SlowestTrace
FROM otel.spans_1m
WHERE Time < since;

CREATE VIEW IF NOT EXISTS otel.service_cells_1h AS
-- Cells of services, whatever their operations: `services_1h`, and before it came the cells of operations. A store that
-- began with it has it from the start; another has all of it from the next day on (as the audit reads it).
WITH
    (
        SELECT multiIf(
            countIf(Version >= 5) = 0, toDateTime('2106-01-01 00:00:00', 'UTC'),
            min(Version) >= 5, toDateTime(0, 'UTC'),
            toDateTime(toDate(minIf(AppliedAt, Version >= 5), 'UTC') + 1, 'UTC'))
        FROM otel.schema_versions
    ) AS since
SELECT Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment,
    Calls, Errors, DurationSum, DurationBuckets, SlowestTrace, FirstSeen, LastSeen
FROM otel.services_1h
WHERE Time >= since
UNION ALL
SELECT Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment,
    Calls, Errors, DurationSum, DurationBuckets, SlowestTrace, FirstSeen, LastSeen
FROM otel.spans_1h
WHERE Time < since;

CREATE VIEW IF NOT EXISTS otel.service_red_1m AS
WITH
    (buckets, q) -> if(empty(buckets), NULL, exp2((mapKeys(buckets)[arrayFirstIndex(
        seen -> seen >= ceil(q * arraySum(mapValues(buckets))), arrayCumSum(mapValues(buckets)))] + 0.5) / 8)) AS quantile_ns
SELECT
    cell.Time AS Time,
    cell.TenantId AS TenantId,
    cell.ServiceName AS ServiceName,
    cell.ServiceVersion AS ServiceVersion,
    cell.Environment AS Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    quantile_ns(sumMap(cell.DurationBuckets), 0.5) AS P50,
    quantile_ns(sumMap(cell.DurationBuckets), 0.95) AS P95,
    quantile_ns(sumMap(cell.DurationBuckets), 0.99) AS P99,
    argMaxMerge(cell.SlowestTrace) AS SlowTraceId,
    argMaxMergeIf(cell.SlowestTrace, cell.StatusCode = 'Error') AS FailedTraceId
FROM otel.service_cells_1m AS cell
WHERE cell.Time >= {from:DateTime} AND cell.Time < {to:DateTime}
    -- Hashed: looking up pairs of texts was a tenth of what the view costs over a week (measured).
    AND (cell.SpanKind IN ('Server', 'Consumer') OR cityHash64(cell.TenantId, cell.ServiceName) NOT IN (
        SELECT DISTINCT cityHash64(entry.TenantId, entry.ServiceName) FROM otel.service_cells_1m AS entry
        WHERE entry.Time >= {from:DateTime} AND entry.Time < {to:DateTime}
            AND entry.SpanKind IN ('Server', 'Consumer')))
GROUP BY Time, TenantId, ServiceName, ServiceVersion, Environment;

CREATE VIEW IF NOT EXISTS otel.service_red_1h AS
WITH
    (buckets, q) -> if(empty(buckets), NULL, exp2((mapKeys(buckets)[arrayFirstIndex(
        seen -> seen >= ceil(q * arraySum(mapValues(buckets))), arrayCumSum(mapValues(buckets)))] + 0.5) / 8)) AS quantile_ns
SELECT
    cell.Time AS Time,
    cell.TenantId AS TenantId,
    cell.ServiceName AS ServiceName,
    cell.ServiceVersion AS ServiceVersion,
    cell.Environment AS Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    quantile_ns(sumMap(cell.DurationBuckets), 0.5) AS P50,
    quantile_ns(sumMap(cell.DurationBuckets), 0.95) AS P95,
    quantile_ns(sumMap(cell.DurationBuckets), 0.99) AS P99,
    argMaxMerge(cell.SlowestTrace) AS SlowTraceId,
    argMaxMergeIf(cell.SlowestTrace, cell.StatusCode = 'Error') AS FailedTraceId
FROM otel.service_cells_1h AS cell
WHERE cell.Time >= {from:DateTime} AND cell.Time < {to:DateTime}
    -- Hashed: looking up pairs of texts was a tenth of what the view costs over a week (measured).
    AND (cell.SpanKind IN ('Server', 'Consumer') OR cityHash64(cell.TenantId, cell.ServiceName) NOT IN (
        SELECT DISTINCT cityHash64(entry.TenantId, entry.ServiceName) FROM otel.service_cells_1h AS entry
        WHERE entry.Time >= {from:DateTime} AND entry.Time < {to:DateTime}
            AND entry.SpanKind IN ('Server', 'Consumer')))
GROUP BY Time, TenantId, ServiceName, ServiceVersion, Environment;

CREATE TABLE IF NOT EXISTS otel.logs_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    SeverityText LowCardinality(String),
    SeverityNumber UInt8,
    Records SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, Time, TenantId, SeverityText, SeverityNumber)
TTL Time + toIntervalDay(91)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.logs_1m_mv TO otel.logs_1m AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Time,
    TenantId,
    ServiceName,
    SeverityText,
    SeverityNumber,
    count() AS Records
FROM otel.otel_logs
GROUP BY Time, TenantId, ServiceName, SeverityText, SeverityNumber;

CREATE TABLE IF NOT EXISTS otel.metrics_1d
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    Kind LowCardinality(String),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    Monotonic Bool,
    ServiceVersion LowCardinality(String),
    Environment LowCardinality(String),
    Description SimpleAggregateFunction(anyLast, LowCardinality(String)),
    FirstSeen SimpleAggregateFunction(min, DateTime),
    LastSeen SimpleAggregateFunction(max, DateTime),
    Points SimpleAggregateFunction(sum, UInt64),
    Series AggregateFunction(uniqCombined(12), UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment)
TTL Time + toIntervalDay(401)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.metrics_1d_gauge_mv TO otel.metrics_1d AS
SELECT
    toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Time,
    TenantId,
    ServiceName,
    MetricName,
    'gauge' AS Kind,
    MetricUnit AS Unit,
    '' AS Temporality,
    false AS Monotonic,
    ServiceVersion,
    Environment,
    anyLast(MetricDescription) AS Description,
    min(toDateTime(TimeUnix)) AS FirstSeen,
    max(toDateTime(TimeUnix)) AS LastSeen,
    count() AS Points,
    uniqCombinedState(12)(cityHash64(ResourceAttributes, ScopeName, Attributes)) AS Series
FROM otel.otel_metrics_gauge
GROUP BY Time, TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.metrics_1d_sum_mv TO otel.metrics_1d AS
SELECT
    toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Time,
    TenantId,
    ServiceName,
    MetricName,
    'sum' AS Kind,
    MetricUnit AS Unit,
    multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '') AS Temporality,
    IsMonotonic AS Monotonic,
    ServiceVersion,
    Environment,
    anyLast(MetricDescription) AS Description,
    min(toDateTime(TimeUnix)) AS FirstSeen,
    max(toDateTime(TimeUnix)) AS LastSeen,
    count() AS Points,
    uniqCombinedState(12)(cityHash64(ResourceAttributes, ScopeName, Attributes)) AS Series
FROM otel.otel_metrics_sum
GROUP BY Time, TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.metrics_1d_histogram_mv TO otel.metrics_1d AS
SELECT
    toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Time,
    TenantId,
    ServiceName,
    MetricName,
    'histogram' AS Kind,
    MetricUnit AS Unit,
    multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '') AS Temporality,
    true AS Monotonic,
    ServiceVersion,
    Environment,
    anyLast(MetricDescription) AS Description,
    min(toDateTime(TimeUnix)) AS FirstSeen,
    max(toDateTime(TimeUnix)) AS LastSeen,
    count() AS Points,
    uniqCombinedState(12)(cityHash64(ResourceAttributes, ScopeName, Attributes)) AS Series
FROM otel.otel_metrics_histogram
GROUP BY Time, TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.metrics_1d_exponential_histogram_mv TO otel.metrics_1d AS
SELECT
    toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Time,
    TenantId,
    ServiceName,
    MetricName,
    'exponential_histogram' AS Kind,
    MetricUnit AS Unit,
    multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '') AS Temporality,
    true AS Monotonic,
    ServiceVersion,
    Environment,
    anyLast(MetricDescription) AS Description,
    min(toDateTime(TimeUnix)) AS FirstSeen,
    max(toDateTime(TimeUnix)) AS LastSeen,
    count() AS Points,
    uniqCombinedState(12)(cityHash64(ResourceAttributes, ScopeName, Attributes)) AS Series
FROM otel.otel_metrics_exponential_histogram
GROUP BY Time, TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.metrics_1d_summary_mv TO otel.metrics_1d AS
SELECT
    toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Time,
    TenantId,
    ServiceName,
    MetricName,
    'summary' AS Kind,
    MetricUnit AS Unit,
    'cumulative' AS Temporality,
    true AS Monotonic,
    ServiceVersion,
    Environment,
    anyLast(MetricDescription) AS Description,
    min(toDateTime(TimeUnix)) AS FirstSeen,
    max(toDateTime(TimeUnix)) AS LastSeen,
    count() AS Points,
    uniqCombinedState(12)(cityHash64(ResourceAttributes, ScopeName, Attributes)) AS Series
FROM otel.otel_metrics_summary
GROUP BY Time, TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment;

CREATE TABLE IF NOT EXISTS otel.numbers_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Kind LowCardinality(String),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    Monotonic Bool,
    ResourceAttributes String,
    Attributes String,
    First SimpleAggregateFunction(min, UInt128),
    Last SimpleAggregateFunction(max, UInt128),
    Points SimpleAggregateFunction(sum, UInt64),
    Sum SimpleAggregateFunction(sum, Float64),
    Min SimpleAggregateFunction(min, Float64),
    Max SimpleAggregateFunction(max, Float64),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime)
TTL Time + toIntervalDay(91)
SETTINGS allow_dimensions_outside_sorting_key = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.numbers_1m_gauge_mv TO otel.numbers_1m AS
WITH
    -- A point as one number, its nanoseconds above the bits of its value: extremes of tuples cost a third more to merge
    -- (0.84 us a row and tier instead of 1.12, measured).
    (at, value) -> bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(at)), 64), toUInt128(reinterpretAsUInt64(toFloat64(value))))
        AS packed
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Kind, Unit, Temporality, Monotonic) AS SeriesId,
    -- Runs of a cumulative series are told apart by it; delta points begin anew each time and would each be a row.
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    'gauge' AS Kind,
    point.MetricUnit AS Unit,
    '' AS Temporality,
    false AS Monotonic,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    packed(point.TimeUnix, point.Value) AS First,
    First AS Last,
    1 AS Points,
    point.Value AS Sum,
    point.Value AS Min,
    point.Value AS Max,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM otel.otel_metrics_gauge AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0) AND NOT isNaN(point.Value)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'));

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.numbers_1m_sum_mv TO otel.numbers_1m AS
WITH
    -- A point as one number, its nanoseconds above the bits of its value: extremes of tuples cost a third more to merge
    -- (0.84 us a row and tier instead of 1.12, measured).
    (at, value) -> bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(at)), 64), toUInt128(reinterpretAsUInt64(toFloat64(value))))
        AS packed
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Kind, Unit, Temporality, Monotonic) AS SeriesId,
    -- Runs of a cumulative series are told apart by it; delta points begin anew each time and would each be a row.
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    'sum' AS Kind,
    point.MetricUnit AS Unit,
    multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '') AS Temporality,
    IsMonotonic AS Monotonic,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    packed(point.TimeUnix, point.Value) AS First,
    First AS Last,
    1 AS Points,
    point.Value AS Sum,
    point.Value AS Min,
    point.Value AS Max,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM otel.otel_metrics_sum AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0) AND NOT isNaN(point.Value)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'));

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.numbers_1m_summary_mv TO otel.numbers_1m AS
WITH
    -- A point as one number, its nanoseconds above the bits of its value: extremes of tuples cost a third more to merge
    -- (0.84 us a row and tier instead of 1.12, measured).
    (at, value) -> bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(at)), 64), toUInt128(reinterpretAsUInt64(toFloat64(value))))
        AS packed,
    -- As Prometheus exposes a summary: two counters, and a gauge for each quantile.
    arrayConcat(
        [('_count', toFloat64(point.Count), '', '1'), ('_sum', point.Sum, '', point.MetricUnit)],
        arrayMap((quantile, value) -> ('', value, toString(quantile), point.MetricUnit),
            point.ValueAtQuantiles.Quantile, point.ValueAtQuantiles.Value)
    ) AS parts,
    arrayJoin(parts) AS part
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    concat(point.MetricName, part.1) AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Kind, Unit, Temporality, Monotonic, part.3) AS SeriesId,
    if(part.3 = '', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    if(part.3 = '', 'sum', 'gauge') AS Kind,
    part.4 AS Unit,
    -- The protocol's only legacy kind: its counts are cumulative by definition.
    if(part.3 = '', 'cumulative', '') AS Temporality,
    part.3 = '' AS Monotonic,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(if(part.3 = '', point.Attributes, mapUpdate(point.Attributes, map('quantile', part.3)))) AS Attributes,
    packed(point.TimeUnix, part.2) AS First,
    First AS Last,
    1 AS Points,
    part.2 AS Sum,
    part.2 AS Min,
    part.2 AS Max,
    initializeAggregation('argMaxArrayState', []::Array(String), []::Array(Float64)) AS Exemplar
FROM otel.otel_metrics_summary AS point
-- Flag 1: no recorded value, as when a series ended. A quantile of nothing is NaN.
WHERE NOT bitTest(point.Flags, 0) AND NOT isNaN(part.2)
-- Folded from many series by a budget: their counts follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'));

CREATE TABLE IF NOT EXISTS otel.numbers_1h
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Kind LowCardinality(String),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    Monotonic Bool,
    ResourceAttributes String,
    Attributes String,
    First SimpleAggregateFunction(min, UInt128),
    Last SimpleAggregateFunction(max, UInt128),
    Points SimpleAggregateFunction(sum, UInt64),
    Sum SimpleAggregateFunction(sum, Float64),
    Min SimpleAggregateFunction(min, Float64),
    Max SimpleAggregateFunction(max, Float64),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime)
TTL Time + toIntervalDay(401)
SETTINGS allow_dimensions_outside_sorting_key = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.numbers_1h_mv TO otel.numbers_1h AS
SELECT * REPLACE (toStartOfHour(Time, 'UTC') AS Time)
FROM otel.numbers_1m;

CREATE VIEW IF NOT EXISTS otel.counter_1m AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of,
    -- What packed.sql made: (time, value).
    point -> (
        fromUnixTimestamp64Nano(toInt64(bitShiftRight(point, 64))),
        reinterpretAsFloat64(toUInt64(bitAnd(point, 18446744073709551615)))
    ) AS unpacked
SELECT
    Time,
    TenantId,
    SeriesId,
    ResourceAttributes,
    Attributes,
    Unit,
    Increase,
    Increase / {step:UInt32} AS Rate,
    Resets,
    Points,
    PrometheusIncrease,
    PrometheusIncrease / {step:UInt32} AS PrometheusRate,
    ExemplarTraceId
FROM
(
    SELECT
        window_of(Cell) AS Time,
        TenantId,
        SeriesId,
        any(Resource) AS ResourceAttributes,
        any(Own) AS Attributes,
        any(UnitOf) AS Unit,
        sum(Added) AS Increase,
        sum(Fell) AS Resets,
        sum(Seen) AS Points,
        -- Prometheus' extrapolation (promql/functions.go, extrapolatedRate): from the first and the last sample of the window
        -- to its edges, but not below zero and not over a gap.
        min(Earliest) AS FirstPoint,
        max(Latest) AS LastPoint,
        LastPoint.2 - FirstPoint.2 + sum(if(Before.1 >= toDateTime64(Time, 9), Lost, 0) + LostInside) AS Between,
        (toUnixTimestamp64Nano(LastPoint.1) - toUnixTimestamp64Nano(FirstPoint.1)) / 1e9 AS Sampled_s,
        Sampled_s / (Points - 1) AS Each_s,
        (toUnixTimestamp64Nano(FirstPoint.1) - toUnixTimestamp(Time) * 1000000000) / 1e9 AS ToStart_s,
        ((toUnixTimestamp(Time) + {step:UInt32}) * 1000000000 - toUnixTimestamp64Nano(LastPoint.1)) / 1e9 AS ToEnd_s,
        if(Monotone AND Between > 0 AND FirstPoint.2 >= 0, least(ToStart_s, Sampled_s * FirstPoint.2 / Between), ToStart_s) AS ToZero_s,
        multiIf(any(Delta), Increase, Points < 2 OR Sampled_s <= 0, NULL, Between * (Sampled_s
            + if(ToZero_s < Each_s * 1.1, ToZero_s, Each_s / 2) + if(ToEnd_s < Each_s * 1.1, ToEnd_s, Each_s / 2)) / Sampled_s)
            AS PrometheusIncrease,
        argMaxArrayMerge(Exemplars) AS ExemplarTraceId
    FROM
    (
        SELECT
            *,
            Temporality = 'delta' AS Delta,
            lagInFrame(Latest) OVER series AS Before,
            lagInFrame(StartTime) OVER series AS StartBefore,
            lagInFrame(toUInt8(1)) OVER series AS Follows,
            Follows AND StartTime > StartBefore AND StartTime >= Before.1 AS Restarted,
            Monotone AND Follows AND NOT Restarted AND Earliest.2 < Before.2 AS Dropped,
            Monotone AND Latest.2 < Earliest.2 AS DroppedInside,
            if(Dropped OR (Restarted AND Monotone AND Earliest.2 < Before.2), Before.2, 0) AS Lost,
            if(DroppedInside, Earliest.2, 0) AS LostInside,
            multiIf(
                Delta, Total,
                -- What a run counted before its first point was counted since it began.
                NOT Follows, if(StartTime >= toDateTime64(SinceWhen, 9), Earliest.2, 0),
                Restarted OR Dropped, Earliest.2,
                Earliest.2 - Before.2
            ) + multiIf(Delta, 0, DroppedInside, Latest.2, Latest.2 - Earliest.2) AS Added,
            if(Delta, 0, (Restarted OR Dropped) + DroppedInside) AS Fell
        FROM
        (
            SELECT
                cell.Time AS Cell,
                cell.TenantId AS TenantId,
                cell.SeriesId AS SeriesId,
                cell.StartTime AS StartTime,
                cell.Temporality AS Temporality,
                any(cell.Unit) AS UnitOf,
                JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
                JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
                sum(cell.Points) AS Seen,
                argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
                {from:DateTime} - 3600 AS SinceWhen,
                cell.Monotonic AS Monotone,
                unpacked(min(cell.First)) AS Earliest,
                unpacked(max(cell.Last)) AS Latest,
                sum(cell.Sum) AS Total
            FROM otel.numbers_1m AS cell
            WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String} AND cell.Kind = 'sum'
                AND cell.Time >= {from:DateTime} - 3600 AND cell.Time < {to:DateTime}
            GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality, Monotone
        )
        WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
    WHERE Cell >= {from:DateTime}
    GROUP BY Time, TenantId, SeriesId, Monotone
);

CREATE VIEW IF NOT EXISTS otel.counter_1h AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of,
    -- What packed.sql made: (time, value).
    point -> (
        fromUnixTimestamp64Nano(toInt64(bitShiftRight(point, 64))),
        reinterpretAsFloat64(toUInt64(bitAnd(point, 18446744073709551615)))
    ) AS unpacked
SELECT
    Time,
    TenantId,
    SeriesId,
    ResourceAttributes,
    Attributes,
    Unit,
    Increase,
    Increase / {step:UInt32} AS Rate,
    Resets,
    Points,
    PrometheusIncrease,
    PrometheusIncrease / {step:UInt32} AS PrometheusRate,
    ExemplarTraceId
FROM
(
    SELECT
        window_of(Cell) AS Time,
        TenantId,
        SeriesId,
        any(Resource) AS ResourceAttributes,
        any(Own) AS Attributes,
        any(UnitOf) AS Unit,
        sum(Added) AS Increase,
        sum(Fell) AS Resets,
        sum(Seen) AS Points,
        -- Prometheus' extrapolation (promql/functions.go, extrapolatedRate): from the first and the last sample of the window
        -- to its edges, but not below zero and not over a gap.
        min(Earliest) AS FirstPoint,
        max(Latest) AS LastPoint,
        LastPoint.2 - FirstPoint.2 + sum(if(Before.1 >= toDateTime64(Time, 9), Lost, 0) + LostInside) AS Between,
        (toUnixTimestamp64Nano(LastPoint.1) - toUnixTimestamp64Nano(FirstPoint.1)) / 1e9 AS Sampled_s,
        Sampled_s / (Points - 1) AS Each_s,
        (toUnixTimestamp64Nano(FirstPoint.1) - toUnixTimestamp(Time) * 1000000000) / 1e9 AS ToStart_s,
        ((toUnixTimestamp(Time) + {step:UInt32}) * 1000000000 - toUnixTimestamp64Nano(LastPoint.1)) / 1e9 AS ToEnd_s,
        if(Monotone AND Between > 0 AND FirstPoint.2 >= 0, least(ToStart_s, Sampled_s * FirstPoint.2 / Between), ToStart_s) AS ToZero_s,
        multiIf(any(Delta), Increase, Points < 2 OR Sampled_s <= 0, NULL, Between * (Sampled_s
            + if(ToZero_s < Each_s * 1.1, ToZero_s, Each_s / 2) + if(ToEnd_s < Each_s * 1.1, ToEnd_s, Each_s / 2)) / Sampled_s)
            AS PrometheusIncrease,
        argMaxArrayMerge(Exemplars) AS ExemplarTraceId
    FROM
    (
        SELECT
            *,
            Temporality = 'delta' AS Delta,
            lagInFrame(Latest) OVER series AS Before,
            lagInFrame(StartTime) OVER series AS StartBefore,
            lagInFrame(toUInt8(1)) OVER series AS Follows,
            Follows AND StartTime > StartBefore AND StartTime >= Before.1 AS Restarted,
            Monotone AND Follows AND NOT Restarted AND Earliest.2 < Before.2 AS Dropped,
            Monotone AND Latest.2 < Earliest.2 AS DroppedInside,
            if(Dropped OR (Restarted AND Monotone AND Earliest.2 < Before.2), Before.2, 0) AS Lost,
            if(DroppedInside, Earliest.2, 0) AS LostInside,
            multiIf(
                Delta, Total,
                -- What a run counted before its first point was counted since it began.
                NOT Follows, if(StartTime >= toDateTime64(SinceWhen, 9), Earliest.2, 0),
                Restarted OR Dropped, Earliest.2,
                Earliest.2 - Before.2
            ) + multiIf(Delta, 0, DroppedInside, Latest.2, Latest.2 - Earliest.2) AS Added,
            if(Delta, 0, (Restarted OR Dropped) + DroppedInside) AS Fell
        FROM
        (
            SELECT
                cell.Time AS Cell,
                cell.TenantId AS TenantId,
                cell.SeriesId AS SeriesId,
                cell.StartTime AS StartTime,
                cell.Temporality AS Temporality,
                any(cell.Unit) AS UnitOf,
                JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
                JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
                sum(cell.Points) AS Seen,
                argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
                {from:DateTime} - 86400 AS SinceWhen,
                cell.Monotonic AS Monotone,
                unpacked(min(cell.First)) AS Earliest,
                unpacked(max(cell.Last)) AS Latest,
                sum(cell.Sum) AS Total
            FROM otel.numbers_1h AS cell
            WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String} AND cell.Kind = 'sum'
                AND cell.Time >= {from:DateTime} - 86400 AND cell.Time < {to:DateTime}
            GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality, Monotone
        )
        WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
    WHERE Cell >= {from:DateTime}
    GROUP BY Time, TenantId, SeriesId, Monotone
);

CREATE VIEW IF NOT EXISTS otel.gauge_1m AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of,
    -- What packed.sql made: (time, value).
    point -> (
        fromUnixTimestamp64Nano(toInt64(bitShiftRight(point, 64))),
        reinterpretAsFloat64(toUInt64(bitAnd(point, 18446744073709551615)))
    ) AS unpacked
SELECT
    window_of(cell.Time) AS Time,
    cell.TenantId AS TenantId,
    cell.SeriesId AS SeriesId,
    JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS ResourceAttributes,
    JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Attributes,
    any(cell.Unit) AS Unit,
    min(cell.Min) AS Lowest,
    max(cell.Max) AS Highest,
    sum(cell.Sum) / sum(cell.Points) AS Average,
    unpacked(max(cell.Last)).2 AS Latest,
    sum(cell.Points) AS Points,
    argMaxArrayMerge(cell.Exemplar) AS ExemplarTraceId
FROM otel.numbers_1m AS cell
WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String}
    AND cell.Time >= {from:DateTime} AND cell.Time < {to:DateTime}
GROUP BY Time, TenantId, SeriesId;

CREATE VIEW IF NOT EXISTS otel.gauge_1h AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of,
    -- What packed.sql made: (time, value).
    point -> (
        fromUnixTimestamp64Nano(toInt64(bitShiftRight(point, 64))),
        reinterpretAsFloat64(toUInt64(bitAnd(point, 18446744073709551615)))
    ) AS unpacked
SELECT
    window_of(cell.Time) AS Time,
    cell.TenantId AS TenantId,
    cell.SeriesId AS SeriesId,
    JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS ResourceAttributes,
    JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Attributes,
    any(cell.Unit) AS Unit,
    min(cell.Min) AS Lowest,
    max(cell.Max) AS Highest,
    sum(cell.Sum) / sum(cell.Points) AS Average,
    unpacked(max(cell.Last)).2 AS Latest,
    sum(cell.Points) AS Points,
    argMaxArrayMerge(cell.Exemplar) AS ExemplarTraceId
FROM otel.numbers_1h AS cell
WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String}
    AND cell.Time >= {from:DateTime} AND cell.Time < {to:DateTime}
GROUP BY Time, TenantId, SeriesId;

CREATE TABLE IF NOT EXISTS otel.histograms_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    ResourceAttributes String,
    Attributes String,
    Bounds Array(Float64),
    First SimpleAggregateFunction(min, Tuple(DateTime64(9), UInt64, Float64, Array(UInt64))),
    Last SimpleAggregateFunction(max, Tuple(DateTime64(9), UInt64, Float64, Array(UInt64))),
    Points SimpleAggregateFunction(sum, UInt64),
    DeltaCount SimpleAggregateFunction(sum, UInt64),
    DeltaSum SimpleAggregateFunction(sum, Float64),
    DeltaBuckets AggregateFunction(sumForEach, Array(UInt64)),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime)
TTL Time + toIntervalDay(91)
SETTINGS allow_dimensions_outside_sorting_key = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.histograms_1m_mv TO otel.histograms_1m AS
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    -- Buckets can only be added where bounds are equal, and so are their numbers.
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Unit, Temporality, point.ExplicitBounds,
        length(point.BucketCounts)) AS SeriesId,
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    point.MetricUnit AS Unit,
    multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '') AS Temporality,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    point.ExplicitBounds AS Bounds,
    (point.TimeUnix, point.Count, point.Sum, point.BucketCounts) AS First,
    First AS Last,
    1 AS Points,
    -- Sums of cumulative points mean nothing.
    if(Temporality = 'cumulative', 0, point.Count) AS DeltaCount,
    if(Temporality = 'cumulative', 0, point.Sum) AS DeltaSum,
    initializeAggregation('sumForEachState', if(Temporality = 'cumulative', [], point.BucketCounts)) AS DeltaBuckets,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM otel.otel_metrics_histogram AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'));

CREATE TABLE IF NOT EXISTS otel.histograms_1h
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    ResourceAttributes String,
    Attributes String,
    Bounds Array(Float64),
    First SimpleAggregateFunction(min, Tuple(DateTime64(9), UInt64, Float64, Array(UInt64))),
    Last SimpleAggregateFunction(max, Tuple(DateTime64(9), UInt64, Float64, Array(UInt64))),
    Points SimpleAggregateFunction(sum, UInt64),
    DeltaCount SimpleAggregateFunction(sum, UInt64),
    DeltaSum SimpleAggregateFunction(sum, Float64),
    DeltaBuckets AggregateFunction(sumForEach, Array(UInt64)),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime)
TTL Time + toIntervalDay(401)
SETTINGS allow_dimensions_outside_sorting_key = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.histograms_1h_mv TO otel.histograms_1h AS
SELECT * REPLACE (toStartOfHour(Time, 'UTC') AS Time)
FROM otel.histograms_1m;

CREATE VIEW IF NOT EXISTS otel.histogram_1m AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Edges) AS Bounds,
    sumForEach(arrayMap((gained, further) -> gained + further, Gained.3, Further.3)) AS Buckets,
    sum(Gained.1 + Further.1) AS Count,
    sum(Gained.2 + Further.2) AS Sum,
    Count / {step:UInt32} AS Rate,
    sum(Fell) AS Resets,
    sum(Seen) AS Points,
    argMaxArrayMerge(Exemplars) AS ExemplarTraceId
FROM
(
    SELECT
        *,
        Temporality = 'delta' AS Delta,
        lagInFrame(Latest) OVER series AS Before,
        lagInFrame(StartTime) OVER series AS StartBefore,
        lagInFrame(toUInt8(1)) OVER series AS Follows,
        -- A histogram never counts down: one whose count falls began anew, whole, whatever its buckets say apart.
        NOT Delta AND Follows AND (StartTime > StartBefore AND StartTime >= Before.1 OR Earliest.2 < Before.2) AS BeganAnew,
        NOT Delta AND Latest.2 < Earliest.2 AS FellInside,
        toUInt8(BeganAnew) + toUInt8(FellInside) AS Fell,
        -- Up to the cell's first point: what a run counted before it was counted since the run began.
        multiIf(
            Delta, (toInt64(DeltaCount), DeltaSum, arrayMap(bucket -> toInt64(bucket), DeltaBuckets)),
            BeganAnew OR (NOT Follows AND StartTime >= toDateTime64(SinceWhen, 9)),
                (toInt64(Earliest.2), Earliest.3, arrayMap(bucket -> toInt64(bucket), Earliest.4)),
            NOT Follows, (toInt64(0), toFloat64(0), arrayMap(bucket -> toInt64(0), Earliest.4)),
            (toInt64(Earliest.2) - toInt64(Before.2), Earliest.3 - Before.3,
                arrayMap((now, before) -> toInt64(now) - toInt64(before), Earliest.4, arrayResize(Before.4, length(Earliest.4))))
        ) AS Gained,
        -- From the first point to the last.
        multiIf(
            Delta, (toInt64(0), toFloat64(0), arrayMap(bucket -> toInt64(0), DeltaBuckets)),
            FellInside, (toInt64(Latest.2), Latest.3, arrayMap(bucket -> toInt64(bucket), Latest.4)),
            (toInt64(Latest.2) - toInt64(Earliest.2), Latest.3 - Earliest.3,
                arrayMap((now, before) -> toInt64(now) - toInt64(before), Latest.4, Earliest.4))
        ) AS Further
    FROM
    (
        SELECT
            cell.Time AS Cell,
            cell.TenantId AS TenantId,
            cell.SeriesId AS SeriesId,
            cell.StartTime AS StartTime,
            cell.Temporality AS Temporality,
            any(cell.Unit) AS UnitOf,
            JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
            JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
            sum(cell.Points) AS Seen,
            argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
            {from:DateTime} - 3600 AS SinceWhen,
            any(cell.Bounds) AS Edges,
            min(cell.First) AS Earliest,
            max(cell.Last) AS Latest,
            sum(cell.DeltaCount) AS DeltaCount,
            sum(cell.DeltaSum) AS DeltaSum,
            sumForEachMerge(cell.DeltaBuckets) AS DeltaBuckets
        FROM otel.histograms_1m AS cell
        WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String}
            AND cell.Time >= {from:DateTime} - 3600 AND cell.Time < {to:DateTime}
        GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {from:DateTime}
GROUP BY Time, TenantId, SeriesId;

CREATE VIEW IF NOT EXISTS otel.histogram_1h AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Edges) AS Bounds,
    sumForEach(arrayMap((gained, further) -> gained + further, Gained.3, Further.3)) AS Buckets,
    sum(Gained.1 + Further.1) AS Count,
    sum(Gained.2 + Further.2) AS Sum,
    Count / {step:UInt32} AS Rate,
    sum(Fell) AS Resets,
    sum(Seen) AS Points,
    argMaxArrayMerge(Exemplars) AS ExemplarTraceId
FROM
(
    SELECT
        *,
        Temporality = 'delta' AS Delta,
        lagInFrame(Latest) OVER series AS Before,
        lagInFrame(StartTime) OVER series AS StartBefore,
        lagInFrame(toUInt8(1)) OVER series AS Follows,
        -- A histogram never counts down: one whose count falls began anew, whole, whatever its buckets say apart.
        NOT Delta AND Follows AND (StartTime > StartBefore AND StartTime >= Before.1 OR Earliest.2 < Before.2) AS BeganAnew,
        NOT Delta AND Latest.2 < Earliest.2 AS FellInside,
        toUInt8(BeganAnew) + toUInt8(FellInside) AS Fell,
        -- Up to the cell's first point: what a run counted before it was counted since the run began.
        multiIf(
            Delta, (toInt64(DeltaCount), DeltaSum, arrayMap(bucket -> toInt64(bucket), DeltaBuckets)),
            BeganAnew OR (NOT Follows AND StartTime >= toDateTime64(SinceWhen, 9)),
                (toInt64(Earliest.2), Earliest.3, arrayMap(bucket -> toInt64(bucket), Earliest.4)),
            NOT Follows, (toInt64(0), toFloat64(0), arrayMap(bucket -> toInt64(0), Earliest.4)),
            (toInt64(Earliest.2) - toInt64(Before.2), Earliest.3 - Before.3,
                arrayMap((now, before) -> toInt64(now) - toInt64(before), Earliest.4, arrayResize(Before.4, length(Earliest.4))))
        ) AS Gained,
        -- From the first point to the last.
        multiIf(
            Delta, (toInt64(0), toFloat64(0), arrayMap(bucket -> toInt64(0), DeltaBuckets)),
            FellInside, (toInt64(Latest.2), Latest.3, arrayMap(bucket -> toInt64(bucket), Latest.4)),
            (toInt64(Latest.2) - toInt64(Earliest.2), Latest.3 - Earliest.3,
                arrayMap((now, before) -> toInt64(now) - toInt64(before), Latest.4, Earliest.4))
        ) AS Further
    FROM
    (
        SELECT
            cell.Time AS Cell,
            cell.TenantId AS TenantId,
            cell.SeriesId AS SeriesId,
            cell.StartTime AS StartTime,
            cell.Temporality AS Temporality,
            any(cell.Unit) AS UnitOf,
            JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
            JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
            sum(cell.Points) AS Seen,
            argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
            {from:DateTime} - 86400 AS SinceWhen,
            any(cell.Bounds) AS Edges,
            min(cell.First) AS Earliest,
            max(cell.Last) AS Latest,
            sum(cell.DeltaCount) AS DeltaCount,
            sum(cell.DeltaSum) AS DeltaSum,
            sumForEachMerge(cell.DeltaBuckets) AS DeltaBuckets
        FROM otel.histograms_1h AS cell
        WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String}
            AND cell.Time >= {from:DateTime} - 86400 AND cell.Time < {to:DateTime}
        GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {from:DateTime}
GROUP BY Time, TenantId, SeriesId;

CREATE VIEW IF NOT EXISTS otel.histogram_quantile_1m AS
SELECT
    Time,
    TenantId,
    mapFilter((name, value) -> has({by:Array(String)}, name), mapUpdate(ResourceAttributes, Attributes)) AS Labels,
    series.Unit AS Unit,
    series.Bounds AS Bounds,
    sumForEach(series.Buckets) AS Buckets,
    sum(series.Count) AS Count,
    sum(series.Sum) AS Sum,
    arrayCumSum(Buckets) AS UpTo,
    {q:Float64} * UpTo[-1] AS Rank,
    arrayFirstIndex(reached -> reached >= Rank, UpTo) AS Bucket,
    if(Bucket = 1, 0, Bounds[Bucket - 1]) AS Lower,
    -- Prometheus' histogram_quantile (promql/quantile.go, bucketQuantile): linear inside a bucket; the first begins at 0
    -- unless its bound is negative or 0; the last, which has no end, is its lower bound.
    multiIf(
        empty(Bounds) OR isNaN({q:Float64}), nan,
        {q:Float64} < 0, -inf,
        {q:Float64} > 1, inf,
        UpTo[-1] = 0, nan,
        Bucket > length(Bounds), Bounds[-1],
        Bucket = 1 AND Bounds[1] <= 0, Bounds[1],
        Lower + (Bounds[Bucket] - Lower) * ((Rank - if(Bucket = 1, 0, UpTo[Bucket - 1])) / Buckets[Bucket])
    ) AS Quantile
FROM otel.histogram_1m(
    service = {service:String}, metric = {metric:String}, from = {from:DateTime}, to = {to:DateTime}, step = {step:UInt32}
) AS series
GROUP BY Time, TenantId, Labels, Unit, Bounds;

CREATE VIEW IF NOT EXISTS otel.histogram_quantile_1h AS
SELECT
    Time,
    TenantId,
    mapFilter((name, value) -> has({by:Array(String)}, name), mapUpdate(ResourceAttributes, Attributes)) AS Labels,
    series.Unit AS Unit,
    series.Bounds AS Bounds,
    sumForEach(series.Buckets) AS Buckets,
    sum(series.Count) AS Count,
    sum(series.Sum) AS Sum,
    arrayCumSum(Buckets) AS UpTo,
    {q:Float64} * UpTo[-1] AS Rank,
    arrayFirstIndex(reached -> reached >= Rank, UpTo) AS Bucket,
    if(Bucket = 1, 0, Bounds[Bucket - 1]) AS Lower,
    -- Prometheus' histogram_quantile (promql/quantile.go, bucketQuantile): linear inside a bucket; the first begins at 0
    -- unless its bound is negative or 0; the last, which has no end, is its lower bound.
    multiIf(
        empty(Bounds) OR isNaN({q:Float64}), nan,
        {q:Float64} < 0, -inf,
        {q:Float64} > 1, inf,
        UpTo[-1] = 0, nan,
        Bucket > length(Bounds), Bounds[-1],
        Bucket = 1 AND Bounds[1] <= 0, Bounds[1],
        Lower + (Bounds[Bucket] - Lower) * ((Rank - if(Bucket = 1, 0, UpTo[Bucket - 1])) / Buckets[Bucket])
    ) AS Quantile
FROM otel.histogram_1h(
    service = {service:String}, metric = {metric:String}, from = {from:DateTime}, to = {to:DateTime}, step = {step:UInt32}
) AS series
GROUP BY Time, TenantId, Labels, Unit, Bounds;

CREATE TABLE IF NOT EXISTS otel.exponential_histograms_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    Scale Int32,
    ResourceAttributes String,
    Attributes String,
    ZeroThreshold SimpleAggregateFunction(max, Float64),
    First SimpleAggregateFunction(min, Tuple(DateTime64(9), UInt64, Float64, Int32, UInt64, Int32, Array(UInt64), Int32, Array(UInt64))),
    Last SimpleAggregateFunction(max, Tuple(DateTime64(9), UInt64, Float64, Int32, UInt64, Int32, Array(UInt64), Int32, Array(UInt64))),
    Points SimpleAggregateFunction(sum, UInt64),
    DeltaCount SimpleAggregateFunction(sum, UInt64),
    DeltaSum SimpleAggregateFunction(sum, Float64),
    DeltaBuckets SimpleAggregateFunction(sumMap, Map(Int64, UInt64)),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime, Scale)
TTL Time + toIntervalDay(91)
SETTINGS allow_dimensions_outside_sorting_key = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.exponential_histograms_1m_mv TO otel.exponential_histograms_1m AS
WITH
    -- One number a bucket, in the order of its values: positive buckets are 2^40 + index, negative ones the negative of that,
    -- the zero bucket is 0. Indexes have 32 bits.
    (above_from, above, below_from, below) -> arrayConcat(
        arrayMap(i -> -(1099511627776 + toInt64(below_from) + toInt64(i) - 1), arrayEnumerate(below)),
        [toInt64(0)],
        arrayMap(i -> 1099511627776 + toInt64(above_from) + toInt64(i) - 1, arrayEnumerate(above))
    ) AS numbered,
    Temporality = 'delta' AS delta,
    -- A batch may be all buckets: each copy of them counts against the store's memory, so that only what is needed is made.
    arrayResize(point.PositiveBucketCounts, if(delta, length(point.PositiveBucketCounts), 0)) AS above,
    arrayResize(point.NegativeBucketCounts, if(delta, length(point.NegativeBucketCounts), 0)) AS below,
    (
        point.TimeUnix, point.Count, point.Sum, point.Scale, point.ZeroCount,
        point.PositiveOffset, arrayResize(point.PositiveBucketCounts, if(delta, 0, length(point.PositiveBucketCounts))),
        point.NegativeOffset, arrayResize(point.NegativeBucketCounts, if(delta, 0, length(point.NegativeBucketCounts)))
    ) AS whole
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Unit, Temporality) AS SeriesId,
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    point.MetricUnit AS Unit,
    multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', '') AS Temporality,
    -- Only buckets of one scale can be added before all are known; a cumulative run changes its scale as it goes.
    if(delta, point.Scale, 0) AS Scale,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    point.ZeroThreshold AS ZeroThreshold,
    whole AS First,
    whole AS Last,
    1 AS Points,
    if(delta, point.Count, 0) AS DeltaCount,
    if(delta, point.Sum, 0) AS DeltaSum,
    mapFromArrays(
        numbered(point.PositiveOffset, above, point.NegativeOffset, below),
        arrayConcat(below, [if(delta, point.ZeroCount, 0)], above)
    ) AS DeltaBuckets,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM otel.otel_metrics_exponential_histogram AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'));

CREATE TABLE IF NOT EXISTS otel.exponential_histograms_1h
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    Scale Int32,
    ResourceAttributes String,
    Attributes String,
    ZeroThreshold SimpleAggregateFunction(max, Float64),
    First SimpleAggregateFunction(min, Tuple(DateTime64(9), UInt64, Float64, Int32, UInt64, Int32, Array(UInt64), Int32, Array(UInt64))),
    Last SimpleAggregateFunction(max, Tuple(DateTime64(9), UInt64, Float64, Int32, UInt64, Int32, Array(UInt64), Int32, Array(UInt64))),
    Points SimpleAggregateFunction(sum, UInt64),
    DeltaCount SimpleAggregateFunction(sum, UInt64),
    DeltaSum SimpleAggregateFunction(sum, Float64),
    DeltaBuckets SimpleAggregateFunction(sumMap, Map(Int64, UInt64)),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime, Scale)
TTL Time + toIntervalDay(401)
SETTINGS allow_dimensions_outside_sorting_key = 1, non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.exponential_histograms_1h_mv TO otel.exponential_histograms_1h AS
SELECT * REPLACE (toStartOfHour(Time, 'UTC') AS Time)
FROM otel.exponential_histograms_1m;

CREATE VIEW IF NOT EXISTS otel.exponential_histogram_gains_1m AS
-- What each series gained in each of its cells, at the coarsest scale that it had.
WITH
    -- One number a bucket, in the order of its values: positive buckets are 2^40 + index, negative ones the negative of that,
    -- the zero bucket is 0. Indexes have 32 bits.
    (above_from, above, below_from, below) -> arrayConcat(
        arrayMap(i -> -(1099511627776 + toInt64(below_from) + toInt64(i) - 1), arrayEnumerate(below)),
        [toInt64(0)],
        arrayMap(i -> 1099511627776 + toInt64(above_from) + toInt64(i) - 1, arrayEnumerate(above))
    ) AS numbered,
    -- Numbers of buckets at a coarser scale: bucket i of a scale k finer is bucket floor(i / 2^k).
    (buckets, finer, coarse) -> arrayMap(bucket -> if(bucket = 0, 0, sign(bucket)
        * (1099511627776 + toInt64(floor((abs(bucket) - 1099511627776) / exp2(finer - coarse))))), buckets) AS coarser
SELECT
    Cell,
    TenantId,
    SeriesId,
    Resource,
    Own,
    UnitOf,
    Coarsest,
    Nothing,
    Gained.1 + Further.1 AS Counted,
    Gained.2 + Further.2 AS Added,
    mapAdd(Gained.3, Further.3) AS Buckets,
    Fell,
    Seen,
    Exemplars
FROM
(
    SELECT
        *,
        lagInFrame(Latest) OVER series AS Before,
        lagInFrame(StartTime) OVER series AS StartBefore,
        lagInFrame(toUInt8(1)) OVER series AS Follows,
        -- A histogram never counts down: one whose count falls began anew, whole, whatever its buckets say apart.
        NOT Delta AND Follows AND (StartTime > StartBefore AND StartTime >= Before.1 OR Earliest.2 < Before.2) AS BeganAnew,
        NOT Delta AND Latest.2 < Earliest.2 AS FellInside,
        toUInt8(BeganAnew) + toUInt8(FellInside) AS Fell,
        lagInFrame(LatestBuckets) OVER series AS BucketsBefore,
        mapFilter((bucket, counted) -> false, EarliestBuckets) AS None,
        -- Up to the cell's first point: what a run counted before it was counted since the run began.
        multiIf(
            Delta, (toInt64(DeltaCount), DeltaSum, DeltaBuckets),
            BeganAnew OR (NOT Follows AND StartTime >= toDateTime64(SinceWhen, 9)),
                (toInt64(Earliest.2), Earliest.3, EarliestBuckets),
            NOT Follows, (toInt64(0), toFloat64(0), None),
            (toInt64(Earliest.2) - toInt64(Before.2), Earliest.3 - Before.3, mapSubtract(EarliestBuckets, BucketsBefore))
        ) AS Gained,
        -- From the first point to the last.
        multiIf(
            Delta, (toInt64(0), toFloat64(0), None),
            FellInside, (toInt64(Latest.2), Latest.3, LatestBuckets),
            (toInt64(Latest.2) - toInt64(Earliest.2), Latest.3 - Earliest.3, mapSubtract(LatestBuckets, EarliestBuckets))
        ) AS Further
    FROM
    (
        -- To the coarsest scale of the series.
        WITH (buckets, counts, scale) -> CAST(
            arrayReduce('sumMap', [coarser(buckets, scale, Coarsest)], [arrayMap(counted -> toInt64(counted), counts)]),
            'Map(Int64, Int64)') AS merged,
            point -> merged(
                numbered(point.6, point.7, point.8, point.9), arrayConcat(point.9, [point.5], point.7), point.4) AS whole
        SELECT
            *,
            whole(Earliest) AS EarliestBuckets,
            whole(Latest) AS LatestBuckets,
            merged(mapKeys(Summed), mapValues(Summed), Scale) AS DeltaBuckets
        FROM
        (
            SELECT
                *,
                Temporality = 'delta' AS Delta,
                min(if(Delta, Scale, least(Earliest.4, Latest.4))) OVER (PARTITION BY TenantId, SeriesId) AS Coarsest
            FROM
            (
                SELECT
                    cell.Time AS Cell,
                    cell.TenantId AS TenantId,
                    cell.SeriesId AS SeriesId,
                    cell.StartTime AS StartTime,
                    cell.Temporality AS Temporality,
                    any(cell.Unit) AS UnitOf,
                    JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
                    JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
                    sum(cell.Points) AS Seen,
                    argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
                    {from:DateTime} - 3600 AS SinceWhen,
                    cell.Scale AS Scale,
                    max(cell.ZeroThreshold) AS Nothing,
                    min(cell.First) AS Earliest,
                    max(cell.Last) AS Latest,
                    sum(cell.DeltaCount) AS DeltaCount,
                    sum(cell.DeltaSum) AS DeltaSum,
                    sumMap(cell.DeltaBuckets) AS Summed
                FROM otel.exponential_histograms_1m AS cell
                WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String}
                    AND cell.Time >= {from:DateTime} - 3600 AND cell.Time < {to:DateTime}
                GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality, Scale
            )
        )
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {from:DateTime};

CREATE VIEW IF NOT EXISTS otel.exponential_histogram_1m AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Coarsest) AS Scale,
    max(Nothing) AS ZeroThreshold,
    -- Positive buckets are 2^40 + index, negative ones the negative of that, the zero bucket is 0: in the order of values.
    mapFilter((bucket, counted) -> counted != 0, sumMap(gained.Buckets)) AS Buckets,
    Buckets[0] AS ZeroCount,
    mapApply((bucket, counted) -> (bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket > 0, Buckets)) AS Positive,
    mapApply((bucket, counted) -> (-bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket < 0, Buckets)) AS Negative,
    sum(Counted) AS Count,
    sum(Added) AS Sum,
    Count / {step:UInt32} AS Rate,
    sum(Fell) AS Resets,
    sum(Seen) AS Points,
    argMaxArrayMerge(Exemplars) AS ExemplarTraceId
FROM otel.exponential_histogram_gains_1m(
    service = {service:String}, metric = {metric:String}, from = {from:DateTime}, to = {to:DateTime}
) AS gained
GROUP BY Time, TenantId, SeriesId;

CREATE VIEW IF NOT EXISTS otel.exponential_histogram_gains_1h AS
-- What each series gained in each of its cells, at the coarsest scale that it had.
WITH
    -- One number a bucket, in the order of its values: positive buckets are 2^40 + index, negative ones the negative of that,
    -- the zero bucket is 0. Indexes have 32 bits.
    (above_from, above, below_from, below) -> arrayConcat(
        arrayMap(i -> -(1099511627776 + toInt64(below_from) + toInt64(i) - 1), arrayEnumerate(below)),
        [toInt64(0)],
        arrayMap(i -> 1099511627776 + toInt64(above_from) + toInt64(i) - 1, arrayEnumerate(above))
    ) AS numbered,
    -- Numbers of buckets at a coarser scale: bucket i of a scale k finer is bucket floor(i / 2^k).
    (buckets, finer, coarse) -> arrayMap(bucket -> if(bucket = 0, 0, sign(bucket)
        * (1099511627776 + toInt64(floor((abs(bucket) - 1099511627776) / exp2(finer - coarse))))), buckets) AS coarser
SELECT
    Cell,
    TenantId,
    SeriesId,
    Resource,
    Own,
    UnitOf,
    Coarsest,
    Nothing,
    Gained.1 + Further.1 AS Counted,
    Gained.2 + Further.2 AS Added,
    mapAdd(Gained.3, Further.3) AS Buckets,
    Fell,
    Seen,
    Exemplars
FROM
(
    SELECT
        *,
        lagInFrame(Latest) OVER series AS Before,
        lagInFrame(StartTime) OVER series AS StartBefore,
        lagInFrame(toUInt8(1)) OVER series AS Follows,
        -- A histogram never counts down: one whose count falls began anew, whole, whatever its buckets say apart.
        NOT Delta AND Follows AND (StartTime > StartBefore AND StartTime >= Before.1 OR Earliest.2 < Before.2) AS BeganAnew,
        NOT Delta AND Latest.2 < Earliest.2 AS FellInside,
        toUInt8(BeganAnew) + toUInt8(FellInside) AS Fell,
        lagInFrame(LatestBuckets) OVER series AS BucketsBefore,
        mapFilter((bucket, counted) -> false, EarliestBuckets) AS None,
        -- Up to the cell's first point: what a run counted before it was counted since the run began.
        multiIf(
            Delta, (toInt64(DeltaCount), DeltaSum, DeltaBuckets),
            BeganAnew OR (NOT Follows AND StartTime >= toDateTime64(SinceWhen, 9)),
                (toInt64(Earliest.2), Earliest.3, EarliestBuckets),
            NOT Follows, (toInt64(0), toFloat64(0), None),
            (toInt64(Earliest.2) - toInt64(Before.2), Earliest.3 - Before.3, mapSubtract(EarliestBuckets, BucketsBefore))
        ) AS Gained,
        -- From the first point to the last.
        multiIf(
            Delta, (toInt64(0), toFloat64(0), None),
            FellInside, (toInt64(Latest.2), Latest.3, LatestBuckets),
            (toInt64(Latest.2) - toInt64(Earliest.2), Latest.3 - Earliest.3, mapSubtract(LatestBuckets, EarliestBuckets))
        ) AS Further
    FROM
    (
        -- To the coarsest scale of the series.
        WITH (buckets, counts, scale) -> CAST(
            arrayReduce('sumMap', [coarser(buckets, scale, Coarsest)], [arrayMap(counted -> toInt64(counted), counts)]),
            'Map(Int64, Int64)') AS merged,
            point -> merged(
                numbered(point.6, point.7, point.8, point.9), arrayConcat(point.9, [point.5], point.7), point.4) AS whole
        SELECT
            *,
            whole(Earliest) AS EarliestBuckets,
            whole(Latest) AS LatestBuckets,
            merged(mapKeys(Summed), mapValues(Summed), Scale) AS DeltaBuckets
        FROM
        (
            SELECT
                *,
                Temporality = 'delta' AS Delta,
                min(if(Delta, Scale, least(Earliest.4, Latest.4))) OVER (PARTITION BY TenantId, SeriesId) AS Coarsest
            FROM
            (
                SELECT
                    cell.Time AS Cell,
                    cell.TenantId AS TenantId,
                    cell.SeriesId AS SeriesId,
                    cell.StartTime AS StartTime,
                    cell.Temporality AS Temporality,
                    any(cell.Unit) AS UnitOf,
                    JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
                    JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
                    sum(cell.Points) AS Seen,
                    argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
                    {from:DateTime} - 86400 AS SinceWhen,
                    cell.Scale AS Scale,
                    max(cell.ZeroThreshold) AS Nothing,
                    min(cell.First) AS Earliest,
                    max(cell.Last) AS Latest,
                    sum(cell.DeltaCount) AS DeltaCount,
                    sum(cell.DeltaSum) AS DeltaSum,
                    sumMap(cell.DeltaBuckets) AS Summed
                FROM otel.exponential_histograms_1h AS cell
                WHERE cell.ServiceName = {service:String} AND cell.MetricName = {metric:String}
                    AND cell.Time >= {from:DateTime} - 86400 AND cell.Time < {to:DateTime}
                GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality, Scale
            )
        )
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {from:DateTime};

CREATE VIEW IF NOT EXISTS otel.exponential_histogram_1h AS
WITH
    -- The begin of the window that a moment lies in.
    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
        AS window_of
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Coarsest) AS Scale,
    max(Nothing) AS ZeroThreshold,
    -- Positive buckets are 2^40 + index, negative ones the negative of that, the zero bucket is 0: in the order of values.
    mapFilter((bucket, counted) -> counted != 0, sumMap(gained.Buckets)) AS Buckets,
    Buckets[0] AS ZeroCount,
    mapApply((bucket, counted) -> (bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket > 0, Buckets)) AS Positive,
    mapApply((bucket, counted) -> (-bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket < 0, Buckets)) AS Negative,
    sum(Counted) AS Count,
    sum(Added) AS Sum,
    Count / {step:UInt32} AS Rate,
    sum(Fell) AS Resets,
    sum(Seen) AS Points,
    argMaxArrayMerge(Exemplars) AS ExemplarTraceId
FROM otel.exponential_histogram_gains_1h(
    service = {service:String}, metric = {metric:String}, from = {from:DateTime}, to = {to:DateTime}
) AS gained
GROUP BY Time, TenantId, SeriesId;

CREATE VIEW IF NOT EXISTS otel.exponential_histogram_quantile_1m AS
SELECT
    *,
    {q:Float64} * UpTo[-1] AS Rank,
    arrayFirstIndex(reached -> reached >= Rank AND reached > 0, UpTo) AS Place,
    Distribution.1[Place] AS Bucket,
    (Rank - if(Place = 1, 0, UpTo[Place - 1])) / Distribution.2[Place] AS Share,
    abs(Bucket) - 1099511627776 AS Index,
    if(Distribution.1[1] >= 0 AND Distribution.1[-1] > 0, 0, -Zero) AS ZeroFrom,
    if(Distribution.1[-1] <= 0 AND Distribution.1[1] < 0, 0, Zero) AS ZeroTo,
    -- Prometheus' histogram_quantile of native histograms (3.x): exponential inside a bucket, linear in the zero bucket, which
    -- is on one side of 0 where all other buckets are.
    multiIf(
        isNaN({q:Float64}), nan,
        {q:Float64} < 0, -inf,
        {q:Float64} > 1, inf,
        Place = 0, nan,
        Bucket = 0, ZeroFrom + (ZeroTo - ZeroFrom) * Share,
        Bucket > 0, exp2((Index + Share) * Width),
        -exp2((Index + 1 - Share) * Width)
    ) AS Quantile
FROM
(
    -- In steps: an alias that stands in another is analysed again at each of its places, and was most of the time.
    SELECT *, arrayCumSum(Distribution.2) AS UpTo
    FROM
    (
        WITH
            -- A threshold swallows the buckets below it, and the one that it cuts whole (OpenTelemetry data model, "Zero Threshold").
            bucket -> (bucket != 0 AND exp2((abs(bucket) - 1099511627776) * Width) < ZeroThreshold) AS swallowed
        SELECT
            *,
            arrayReduce('sumMap', [arrayMap(bucket -> if(swallowed(bucket), 0, bucket), Merged.1)], [Merged.2]) AS Distribution,
            arrayMax(arrayConcat([ZeroThreshold],
                arrayMap(bucket -> if(swallowed(bucket), exp2((abs(bucket) - 1099511627776 + 1) * Width), 0), Merged.1))) AS Zero
        FROM
        (
            WITH
                -- Numbers of buckets at a coarser scale: bucket i of a scale k finer is bucket floor(i / 2^k).
                (buckets, finer, coarse) -> arrayMap(bucket -> if(bucket = 0, 0, sign(bucket)
                    * (1099511627776 + toInt64(floor((abs(bucket) - 1099511627776) / exp2(finer - coarse))))), buckets) AS coarser
            SELECT
                Time,
                TenantId,
                Labels,
                Unit,
                any(Coarsest) AS Scale,
                sum(Counted) AS Count,
                sum(Added) AS Sum,
                max(Nothing) AS ZeroThreshold,
                sumMap(coarser(mapKeys(Gained), Finer, Coarsest), mapValues(Gained)) AS Merged,
                exp2(-Scale) AS Width
            FROM
            (
                WITH
                    -- The begin of the window that a moment lies in.
                    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
                        AS window_of
                SELECT
                    window_of(gained.Cell) AS Time,
                    gained.TenantId AS TenantId,
                    mapFilter((name, value) -> has({by:Array(String)}, name), mapUpdate(gained.Resource, gained.Own)) AS Labels,
                    gained.UnitOf AS Unit,
                    gained.Coarsest AS Finer,
                    gained.Nothing AS Nothing,
                    gained.Buckets AS Gained,
                    gained.Counted AS Counted,
                    gained.Added AS Added,
                    min(Finer) OVER (PARTITION BY Time, TenantId, Labels, Unit) AS Coarsest
                FROM otel.exponential_histogram_gains_1m(
                    service = {service:String}, metric = {metric:String}, from = {from:DateTime}, to = {to:DateTime}
                ) AS gained
            )
            GROUP BY Time, TenantId, Labels, Unit
        )
    )
);

CREATE VIEW IF NOT EXISTS otel.exponential_histogram_quantile_1h AS
SELECT
    *,
    {q:Float64} * UpTo[-1] AS Rank,
    arrayFirstIndex(reached -> reached >= Rank AND reached > 0, UpTo) AS Place,
    Distribution.1[Place] AS Bucket,
    (Rank - if(Place = 1, 0, UpTo[Place - 1])) / Distribution.2[Place] AS Share,
    abs(Bucket) - 1099511627776 AS Index,
    if(Distribution.1[1] >= 0 AND Distribution.1[-1] > 0, 0, -Zero) AS ZeroFrom,
    if(Distribution.1[-1] <= 0 AND Distribution.1[1] < 0, 0, Zero) AS ZeroTo,
    -- Prometheus' histogram_quantile of native histograms (3.x): exponential inside a bucket, linear in the zero bucket, which
    -- is on one side of 0 where all other buckets are.
    multiIf(
        isNaN({q:Float64}), nan,
        {q:Float64} < 0, -inf,
        {q:Float64} > 1, inf,
        Place = 0, nan,
        Bucket = 0, ZeroFrom + (ZeroTo - ZeroFrom) * Share,
        Bucket > 0, exp2((Index + Share) * Width),
        -exp2((Index + 1 - Share) * Width)
    ) AS Quantile
FROM
(
    -- In steps: an alias that stands in another is analysed again at each of its places, and was most of the time.
    SELECT *, arrayCumSum(Distribution.2) AS UpTo
    FROM
    (
        WITH
            -- A threshold swallows the buckets below it, and the one that it cuts whole (OpenTelemetry data model, "Zero Threshold").
            bucket -> (bucket != 0 AND exp2((abs(bucket) - 1099511627776) * Width) < ZeroThreshold) AS swallowed
        SELECT
            *,
            arrayReduce('sumMap', [arrayMap(bucket -> if(swallowed(bucket), 0, bucket), Merged.1)], [Merged.2]) AS Distribution,
            arrayMax(arrayConcat([ZeroThreshold],
                arrayMap(bucket -> if(swallowed(bucket), exp2((abs(bucket) - 1099511627776 + 1) * Width), 0), Merged.1))) AS Zero
        FROM
        (
            WITH
                -- Numbers of buckets at a coarser scale: bucket i of a scale k finer is bucket floor(i / 2^k).
                (buckets, finer, coarse) -> arrayMap(bucket -> if(bucket = 0, 0, sign(bucket)
                    * (1099511627776 + toInt64(floor((abs(bucket) - 1099511627776) / exp2(finer - coarse))))), buckets) AS coarser
            SELECT
                Time,
                TenantId,
                Labels,
                Unit,
                any(Coarsest) AS Scale,
                sum(Counted) AS Count,
                sum(Added) AS Sum,
                max(Nothing) AS ZeroThreshold,
                sumMap(coarser(mapKeys(Gained), Finer, Coarsest), mapValues(Gained)) AS Merged,
                exp2(-Scale) AS Width
            FROM
            (
                WITH
                    -- The begin of the window that a moment lies in.
                    at -> {from:DateTime} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({from:DateTime}), {step:UInt32}) * {step:UInt32}
                        AS window_of
                SELECT
                    window_of(gained.Cell) AS Time,
                    gained.TenantId AS TenantId,
                    mapFilter((name, value) -> has({by:Array(String)}, name), mapUpdate(gained.Resource, gained.Own)) AS Labels,
                    gained.UnitOf AS Unit,
                    gained.Coarsest AS Finer,
                    gained.Nothing AS Nothing,
                    gained.Buckets AS Gained,
                    gained.Counted AS Counted,
                    gained.Added AS Added,
                    min(Finer) OVER (PARTITION BY Time, TenantId, Labels, Unit) AS Coarsest
                FROM otel.exponential_histogram_gains_1h(
                    service = {service:String}, metric = {metric:String}, from = {from:DateTime}, to = {to:DateTime}
                ) AS gained
            )
            GROUP BY Time, TenantId, Labels, Unit
        )
    )
);

CREATE VIEW IF NOT EXISTS otel.inventory_services AS
SELECT
    TenantId,
    ServiceName,
    min(First) AS FirstSeen,
    max(Last) AS LastSeen,
    arraySort(groupUniqArrayIf(ServiceVersion, ServiceVersion != '')) AS Versions,
    arraySort(groupUniqArrayIf(Environment, Environment != '')) AS Environments,
    sum(SpanCount) AS Spans,
    sum(RecordCount) AS LogRecords,
    sum(PointCount) AS DataPoints
FROM
(
    SELECT TenantId, ServiceName, ServiceVersion, Environment, min(FirstSeen) AS First, max(LastSeen) AS Last,
        sum(Calls) AS SpanCount, 0 AS RecordCount, 0 AS PointCount
    FROM otel.service_cells_1h GROUP BY TenantId, ServiceName, ServiceVersion, Environment
    UNION ALL
    SELECT TenantId, ServiceName, '', '', min(Time), max(Time), 0, sum(Records), 0
    FROM otel.logs_1m GROUP BY TenantId, ServiceName
    UNION ALL
    SELECT TenantId, ServiceName, ServiceVersion, Environment, min(FirstSeen), max(LastSeen), 0, 0, sum(Points)
    FROM otel.metrics_1d GROUP BY TenantId, ServiceName, ServiceVersion, Environment
)
GROUP BY TenantId, ServiceName;

CREATE VIEW IF NOT EXISTS otel.inventory_versions AS
SELECT
    TenantId,
    ServiceName,
    Environment,
    ServiceVersion,
    min(First) AS FirstSeen,
    max(Last) AS LastSeen,
    sum(SpanCount) AS Spans,
    sum(PointCount) AS DataPoints
FROM
(
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(FirstSeen) AS First, max(LastSeen) AS Last,
        sum(Calls) AS SpanCount, 0 AS PointCount
    FROM otel.service_cells_1h GROUP BY TenantId, ServiceName, Environment, ServiceVersion
    UNION ALL
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(FirstSeen), max(LastSeen), 0, sum(Points)
    FROM otel.metrics_1d GROUP BY TenantId, ServiceName, Environment, ServiceVersion
)
GROUP BY TenantId, ServiceName, Environment, ServiceVersion;

CREATE VIEW IF NOT EXISTS otel.inventory_operations AS
SELECT
    cell.TenantId AS TenantId,
    cell.ServiceName AS ServiceName,
    cell.SpanName AS SpanName,
    cell.SpanKind AS SpanKind,
    min(cell.FirstSeen) AS FirstSeen,
    max(cell.LastSeen) AS LastSeen,
    arraySort(groupUniqArrayIf(cell.ServiceVersion, cell.ServiceVersion != '')) AS Versions,
    arraySort(groupUniqArrayIf(cell.Environment, cell.Environment != '')) AS Environments,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors
FROM otel.spans_1h AS cell
GROUP BY TenantId, ServiceName, SpanName, SpanKind;

CREATE VIEW IF NOT EXISTS otel.inventory_metrics AS
SELECT
    cell.TenantId AS TenantId,
    cell.ServiceName AS ServiceName,
    cell.MetricName AS MetricName,
    cell.Kind AS Kind,
    cell.Unit AS Unit,
    cell.Temporality AS Temporality,
    cell.Monotonic AS Monotonic,
    anyLast(cell.Description) AS Description,
    min(cell.FirstSeen) AS FirstSeen,
    max(cell.LastSeen) AS LastSeen,
    arraySort(groupUniqArrayIf(cell.ServiceVersion, cell.ServiceVersion != '')) AS Versions,
    arraySort(groupUniqArrayIf(cell.Environment, cell.Environment != '')) AS Environments,
    sum(cell.Points) AS DataPoints,
    uniqCombinedMerge(12)(cell.Series) AS Series
FROM otel.metrics_1d AS cell
GROUP BY TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic;

CREATE VIEW IF NOT EXISTS otel.deployments AS
SELECT
    seen.Time AS Time,
    seen.TenantId AS TenantId,
    seen.ServiceName AS ServiceName,
    seen.Environment AS Environment,
    seen.ServiceVersion AS ServiceVersion,
    seen.BeforeIt AS PreviousVersion,
    seen.Itself != 0 AS Returned
FROM
(
    SELECT
        *,
        lagInFrame(Time) OVER (PARTITION BY TenantId, ServiceName, Environment, ServiceVersion ORDER BY Time
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS Itself,
        lagInFrame(Time) OVER running AS Latest,
        lagInFrame(ServiceVersion) OVER running AS BeforeIt
    FROM
    (
        SELECT DISTINCT TenantId, ServiceName, Environment, ServiceVersion, Time
        FROM otel.service_cells_1m
        -- A day more, to know what ran before.
        WHERE Time >= {from:DateTime} - 86400 AND Time < {to:DateTime} AND ServiceVersion != ''
            AND (ServiceName, toStartOfHour(Time, 'UTC')) IN
            (
                -- Hours with several versions or another one than in the hour before, and that hour. In all others one
                -- version goes on: no minute of theirs is a deployment, nor the one before or between those that are.
                -- Of tenant and environment there may be more than these, which changes nothing: minutes are sorted by
                -- service and time.
                SELECT ServiceName, Hour
                FROM
                (
                    SELECT
                        *,
                        lagInFrame(Versions) OVER hours AS Before,
                        leadInFrame(Versions, 1, Versions) OVER hours AS After
                    FROM
                    (
                        SELECT TenantId, ServiceName, Environment, Time AS Hour,
                            arraySort(groupUniqArray(ServiceVersion)) AS Versions
                        FROM otel.service_cells_1h
                        WHERE Time >= toStartOfHour({from:DateTime} - 86400, 'UTC') AND Time < {to:DateTime}
                            AND ServiceVersion != ''
                        GROUP BY TenantId, ServiceName, Environment, Hour
                    )
                    WINDOW hours AS (PARTITION BY TenantId, ServiceName, Environment ORDER BY Hour
                        ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
                )
                WHERE length(Versions) > 1 OR Versions != Before OR Versions != After
            )
    )
    WINDOW running AS (PARTITION BY TenantId, ServiceName, Environment ORDER BY Time, ServiceVersion
        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
) AS seen
LEFT JOIN
(
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(Time) AS FirstHour
    FROM otel.service_cells_1h
    -- Versions that nobody asks about are most of a year's hours, and left out before they are grouped.
    WHERE Time < {to:DateTime} AND ServiceVersion IN (
        SELECT ServiceVersion FROM otel.service_cells_1h WHERE Time > {from:DateTime} - 3600 AND Time < {to:DateTime})
    GROUP BY TenantId, ServiceName, Environment, ServiceVersion
) AS ever USING (TenantId, ServiceName, Environment, ServiceVersion)
WHERE Time >= {from:DateTime} AND if(Itself = 0,
    -- Never seen before.
    ever.FirstHour >= toStartOfHour(Time, 'UTC'),
    -- Back after a quarter of an hour in which another one ran: a rollback. Silence of all versions is none.
    Time - Itself >= 900 AND Latest > Itself AND BeforeIt != ServiceVersion);

CREATE TABLE IF NOT EXISTS otel.service_edges_1m
(
    Time DateTime,
    TenantId LowCardinality(String),
    Environment LowCardinality(String),
    Client LowCardinality(String),
    Server LowCardinality(String),
    Kind LowCardinality(String),
    Calls SimpleAggregateFunction(max, UInt64),
    Errors SimpleAggregateFunction(max, UInt64),
    DurationSum SimpleAggregateFunction(max, UInt64),
    DurationBuckets SimpleAggregateFunction(maxMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (Time, TenantId, Environment, Client, Server, Kind)
TTL Time + toIntervalDay(91)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.service_edges_1h
(
    Time DateTime,
    TenantId LowCardinality(String),
    Environment LowCardinality(String),
    Client LowCardinality(String),
    Server LowCardinality(String),
    Kind LowCardinality(String),
    Calls SimpleAggregateFunction(max, UInt64),
    Errors SimpleAggregateFunction(max, UInt64),
    DurationSum SimpleAggregateFunction(max, UInt64),
    DurationBuckets SimpleAggregateFunction(maxMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (Time, TenantId, Environment, Client, Server, Kind)
TTL Time + toIntervalDay(401)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.service_edges_settled
(
    Time DateTime,
    Spans SimpleAggregateFunction(max, UInt64),
    SettledAt SimpleAggregateFunction(max, DateTime64(3))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY Time
TTL Time + toIntervalDay(91)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.service_addresses
(
    TenantId LowCardinality(String),
    Address String,
    ServiceName LowCardinality(String),
    LastSeen SimpleAggregateFunction(max, DateTime)
)
ENGINE = AggregatingMergeTree
ORDER BY (TenantId, Address, ServiceName)
TTL LastSeen + toIntervalDay(401)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE VIEW IF NOT EXISTS otel.service_map_1m AS
WITH
    (buckets, q) -> if(empty(buckets), NULL, exp2((mapKeys(buckets)[arrayFirstIndex(
        seen -> seen >= ceil(q * arraySum(mapValues(buckets))), arrayCumSum(mapValues(buckets)))] + 0.5) / 8)) AS quantile_ns
SELECT
    edge.TenantId AS TenantId,
    edge.Environment AS Environment,
    edge.Client AS Client,
    edge.Server AS Server,
    edge.Kind AS Kind,
    sum(edge.MostCalls) AS Calls,
    sum(edge.MostErrors) AS Errors,
    sum(edge.LongestSum) AS DurationSum,
    sumMap(edge.FullBuckets) AS DurationBuckets,
    quantile_ns(sumMap(edge.FullBuckets), 0.5) AS P50,
    quantile_ns(sumMap(edge.FullBuckets), 0.95) AS P95,
    quantile_ns(sumMap(edge.FullBuckets), 0.99) AS P99,
    argMaxMerge(edge.Slowest) AS SlowTraceId
FROM
(
    -- A cell is written again, and whole, whenever a span of it came later: its largest figures are its last.
    SELECT
        Time,
        TenantId,
        Environment,
        Client,
        Server,
        Kind,
        max(Calls) AS MostCalls,
        max(Errors) AS MostErrors,
        max(DurationSum) AS LongestSum,
        maxMap(DurationBuckets) AS FullBuckets,
        argMaxMergeState(SlowestTrace) AS Slowest
    FROM otel.service_edges_1m
    WHERE Time >= {from:DateTime} AND Time < {to:DateTime}
    GROUP BY Time, TenantId, Environment, Client, Server, Kind
) AS edge
-- An address where a service of ours answered is not outside.
WHERE edge.Kind != 'host' OR (edge.TenantId, toString(edge.Server)) NOT IN (
    SELECT TenantId, Address FROM otel.service_addresses)
GROUP BY TenantId, Environment, Client, Server, Kind;

CREATE VIEW IF NOT EXISTS otel.service_map_1h AS
WITH
    (buckets, q) -> if(empty(buckets), NULL, exp2((mapKeys(buckets)[arrayFirstIndex(
        seen -> seen >= ceil(q * arraySum(mapValues(buckets))), arrayCumSum(mapValues(buckets)))] + 0.5) / 8)) AS quantile_ns
SELECT
    edge.TenantId AS TenantId,
    edge.Environment AS Environment,
    edge.Client AS Client,
    edge.Server AS Server,
    edge.Kind AS Kind,
    sum(edge.MostCalls) AS Calls,
    sum(edge.MostErrors) AS Errors,
    sum(edge.LongestSum) AS DurationSum,
    sumMap(edge.FullBuckets) AS DurationBuckets,
    quantile_ns(sumMap(edge.FullBuckets), 0.5) AS P50,
    quantile_ns(sumMap(edge.FullBuckets), 0.95) AS P95,
    quantile_ns(sumMap(edge.FullBuckets), 0.99) AS P99,
    argMaxMerge(edge.Slowest) AS SlowTraceId
FROM
(
    -- A cell is written again, and whole, whenever a span of it came later: its largest figures are its last.
    SELECT
        Time,
        TenantId,
        Environment,
        Client,
        Server,
        Kind,
        max(Calls) AS MostCalls,
        max(Errors) AS MostErrors,
        max(DurationSum) AS LongestSum,
        maxMap(DurationBuckets) AS FullBuckets,
        argMaxMergeState(SlowestTrace) AS Slowest
    FROM otel.service_edges_1h
    WHERE Time >= {from:DateTime} AND Time < {to:DateTime}
    GROUP BY Time, TenantId, Environment, Client, Server, Kind
) AS edge
-- An address where a service of ours answered is not outside.
WHERE edge.Kind != 'host' OR (edge.TenantId, toString(edge.Server)) NOT IN (
    SELECT TenantId, Address FROM otel.service_addresses)
GROUP BY TenantId, Environment, Client, Server, Kind;

CREATE VIEW IF NOT EXISTS otel.otel_metrics_exp_histogram AS
SELECT * FROM otel.otel_metrics_exponential_histogram;

CREATE TABLE IF NOT EXISTS otel.series_admitted
(
    Window DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    Series UInt64,
    SeenAt DateTime DEFAULT now()
)
ENGINE = MergeTree
PARTITION BY toDate(Window)
ORDER BY (Window, TenantId, ServiceName, MetricName, Series)
TTL Window + toIntervalDay(2)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE TABLE IF NOT EXISTS otel.series_overflows
(
    Window DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    LogId LowCardinality(String),
    Topic LowCardinality(String),
    Partition UInt32,
    FirstOffset UInt64,
    LastOffset UInt64,
    Level LowCardinality(String),
    Budget UInt64,
    Folded UInt64,
    SaysWhole UInt8,
    Whole Array(UInt64)
)
ENGINE = MergeTree
PARTITION BY toDate(Window)
ORDER BY (Window, TenantId, ServiceName, MetricName, LogId, Topic, Partition, FirstOffset)
TTL Window + toIntervalDay(401)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 1048576, min_rows_for_wide_part = 0, min_level_for_wide_part = 1, merge_selector_base = 15, auto_statistics_types = '';

CREATE VIEW IF NOT EXISTS otel.cardinality AS
SELECT
    Time,
    TenantId,
    ServiceName,
    MetricName,
    sum(SeriesCount) AS Series,
    sum(FoldedPoints) AS Folded,
    max(SpentBudget) AS Budget,
    max(SpentLevel) AS Level
FROM
(
    SELECT Window AS Time, TenantId, ServiceName, MetricName, uniqExact(Series) AS SeriesCount, 0 AS FoldedPoints,
        0 AS SpentBudget, '' AS SpentLevel
    FROM otel.series_admitted
    WHERE Window >= toStartOfHour({from:DateTime}, 'UTC') AND Window < {to:DateTime}
    GROUP BY Time, TenantId, ServiceName, MetricName
    UNION ALL
    SELECT Window, TenantId, ServiceName, MetricName, 0, sum(Folded), max(Budget), toString(anyLast(Level))
    FROM otel.series_overflows
    WHERE Window >= toStartOfHour({from:DateTime}, 'UTC') AND Window < {to:DateTime}
    GROUP BY Window, TenantId, ServiceName, MetricName
)
GROUP BY Time, TenantId, ServiceName, MetricName;

CREATE TABLE IF NOT EXISTS otel.redaction_policies
(
    LogId LowCardinality(String),
    Topic LowCardinality(String),
    Partition UInt32,
    FirstOffset UInt64,
    KeyId LowCardinality(String),
    Rules String,
    RecordedAt DateTime DEFAULT now()
)
ENGINE = MergeTree
ORDER BY (LogId, Topic, Partition, FirstOffset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS otel.ledger
(
    Time DateTime64(3),
    TenantId LowCardinality(String),
    LogId LowCardinality(String),
    Signal LowCardinality(String),
    Topic LowCardinality(String),
    Partition UInt32,
    FirstOffset UInt64,
    LastOffset UInt64,
    TableName LowCardinality(String),
    Day Date,
    Received UInt64,
    Stored UInt64,
    Rejected UInt64,
    SampledOut UInt64,
    DeadLettered UInt64,
    Redacted UInt64,
    Folded UInt64
)
ENGINE = MergeTree
ORDER BY (LogId, Topic, Partition, FirstOffset, TenantId, TableName, Day)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
