-- Where in time one trace lies, so that its spans are read from a few parts only. No row when it is unknown.
SELECT
    toUnixTimestamp(min(Start)) AS StartS,
    toUnixTimestamp(max(End)) AS EndS
FROM otel_traces_trace_id_ts
WHERE TraceId = {trace_id:String}
HAVING count() > 0
