CREATE TABLE IF NOT EXISTS {database}.service_addresses
(
    TenantId LowCardinality(String),
    Address String,
    ServiceName LowCardinality(String),
    LastSeen SimpleAggregateFunction(max, DateTime)
)
ENGINE = AggregatingMergeTree
ORDER BY (TenantId, Address, ServiceName)
TTL LastSeen + toIntervalDay({hourly_rollups_ttl_days})
SETTINGS {settings}
