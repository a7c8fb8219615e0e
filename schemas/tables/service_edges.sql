CREATE TABLE IF NOT EXISTS {database}.service_edges_{tier}
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
TTL Time + toIntervalDay({tier_ttl_days})
SETTINGS {settings}
