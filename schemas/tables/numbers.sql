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
    ResourceAttributes SimpleAggregateFunction(any, Map(String, String)),
    Attributes SimpleAggregateFunction(any, Map(String, String)),
    First SimpleAggregateFunction(min, Tuple(DateTime64(9), Float64)),
    Last SimpleAggregateFunction(max, Tuple(DateTime64(9), Float64)),
    Points SimpleAggregateFunction(sum, UInt64),
    Sum SimpleAggregateFunction(sum, Float64),
    Min SimpleAggregateFunction(min, Float64),
    Max SimpleAggregateFunction(max, Float64),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime, Kind, Unit, Temporality, Monotonic)
TTL Time + toIntervalDay({tier_ttl_days})
SETTINGS {settings}
