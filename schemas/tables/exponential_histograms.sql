CREATE TABLE IF NOT EXISTS {database}.exponential_histograms_{tier}
(
    Time DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    SeriesId UInt64,
    StartTime DateTime64(9),
    Unit LowCardinality(String),
    Temporality LowCardinality(String),
    Scale Int32,
    ResourceAttributes String,
    Attributes String,
    ZeroThreshold SimpleAggregateFunction(max, Float64),
    First SimpleAggregateFunction(min, Tuple(DateTime64(9), UInt64, Float64, Int32, UInt64, Int32, Array(UInt64), Int32, Array(UInt64))),
    Last SimpleAggregateFunction(max, Tuple(DateTime64(9), UInt64, Float64, Int32, UInt64, Int32, Array(UInt64), Int32, Array(UInt64))),
    Points SimpleAggregateFunction(sum, UInt64),
    DeltaCount SimpleAggregateFunction(sum, UInt64),
    DeltaSum SimpleAggregateFunction(sum, Float64),
    DeltaBuckets SimpleAggregateFunction(sumMap, Map(Int64, UInt64)),
    Exemplar AggregateFunction(argMaxArray, Array(String), Array(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (ServiceName, MetricName, Time, TenantId, SeriesId, StartTime, Scale)
TTL Time + toIntervalDay({tier_ttl_days})
SETTINGS allow_dimensions_outside_sorting_key = 1, {settings}
