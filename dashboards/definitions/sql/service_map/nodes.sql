WITH
-- include: latency_quantile.sql
SELECT id, id AS title, any(kind) AS subtitle,
    sum(calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS mainstat,
    latency_quantile(sumMap(durations), 0.95) / 1e6 AS secondarystat,
    1 - arc__failed AS arc__ok,
    sum(errors) / greatest(sum(calls), 1) AS arc__failed
FROM
(
    SELECT Server AS id, if(Kind IN ('database', 'queue', 'host'), Kind, 'service') AS kind, Calls AS calls, Errors AS errors,
        DurationBuckets AS durations
    FROM service_map_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
    UNION ALL
    SELECT Client, 'service', 0, 0, CAST(map(), 'Map(UInt16, UInt64)')
    FROM service_map_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
)
GROUP BY id
ORDER BY id
