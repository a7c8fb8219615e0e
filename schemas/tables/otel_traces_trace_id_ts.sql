CREATE TABLE IF NOT EXISTS {database}.otel_traces_trace_id_ts
(
    TraceId String,
    Start DateTime,
    End DateTime
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
TTL Start + toIntervalDay({traces_ttl_days})
SETTINGS {settings}
