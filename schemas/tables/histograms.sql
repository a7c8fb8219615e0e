CREATE TABLE IF NOT EXISTS {database}.histograms_{tier}
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
TTL Time + toIntervalDay({tier_ttl_days})
SETTINGS allow_dimensions_outside_sorting_key = 1, {settings}
