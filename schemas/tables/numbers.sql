CREATE TABLE IF NOT EXISTS {database}.numbers_{tier}
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
TTL Time + toIntervalDay({tier_ttl_days})
SETTINGS allow_dimensions_outside_sorting_key = 1, {settings}
