CREATE TABLE IF NOT EXISTS {database}.service_edges_settled
(
    Time DateTime,
    Spans SimpleAggregateFunction(max, UInt64),
    SettledAt SimpleAggregateFunction(max, DateTime64(3))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY Time
TTL Time + toIntervalDay({rollups_ttl_days})
SETTINGS {settings}
