CREATE TABLE IF NOT EXISTS {database}.logs_1m
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
TTL Time + toIntervalDay({rollups_ttl_days})
SETTINGS {settings}
