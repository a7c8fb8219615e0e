CREATE TABLE IF NOT EXISTS {database}.series_overflows
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
TTL Window + toIntervalDay({hourly_rollups_ttl_days})
SETTINGS {settings}
