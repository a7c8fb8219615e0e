CREATE TABLE IF NOT EXISTS {database}.metrics_1d
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
TTL Time + toIntervalDay({hourly_rollups_ttl_days})
SETTINGS {settings}
