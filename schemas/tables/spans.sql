CREATE TABLE IF NOT EXISTS {database}.{of}_{tier}
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),{operation_column}
    SpanKind LowCardinality(String),
    StatusCode LowCardinality(String),
    ServiceVersion LowCardinality(String),
    Environment LowCardinality(String),
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    DurationSum SimpleAggregateFunction(sum, UInt64),
    DurationBuckets SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    SlowestTrace AggregateFunction(argMax, String, UInt64){seen}
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, Time, TenantId, {operation_key}SpanKind, StatusCode, ServiceVersion, Environment)
TTL Time + toIntervalDay({tier_ttl_days})
SETTINGS {settings}
