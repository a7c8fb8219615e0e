-- One service's versions, newest first: was it the release?
WITH
-- include: latency_quantile.sql
SELECT
    ServiceVersion,
    Environment,
    toUnixTimestamp(min(Time)) AS FirstSeen,
    toUnixTimestamp(max(Time)) AS LastSeen,
    sum(Calls) AS VersionCalls,
    sum(Errors) AS VersionErrors,
    latency_quantile(sumMap(DurationBuckets), 0.95) AS P95
FROM spans_1m
WHERE ServiceName = {service:String}
    AND Time >= toDateTime({from_s:UInt32}) AND Time < toDateTime({to_s:UInt32})
-- include: entry_spans.sql
GROUP BY ServiceVersion, Environment
ORDER BY FirstSeen DESC, ServiceVersion DESC
LIMIT 20
