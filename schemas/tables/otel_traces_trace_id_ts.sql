CREATE TABLE IF NOT EXISTS {database}.otel_traces_trace_id_ts
(
    TraceId String,
    Start DateTime CODEC(Delta, LZ4),
    End DateTime CODEC(Delta, LZ4),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (toStartOfFiveMinutes(Start))
TTL Start + toIntervalDay({traces_ttl_days})
SETTINGS {settings}
