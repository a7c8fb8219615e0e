-- Bucket i of a duration covers 2^(i/8) to 2^((i+1)/8) ns; four of them, an octave's half, are a row here.
SELECT time, printf('%.6g', exp2((intDiv(bucket.1, 4) + 1) / 2) / 1e6) AS upper_ms, sum(bucket.2) AS spans
FROM
(
    SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time,
        arrayJoin(CAST(sumMap(DurationBuckets), 'Array(Tuple(UInt16, UInt64))')) AS bucket
    FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
    WHERE ServiceName = ${service:singlequote} AND $__conditionalAll(Environment IN (${environment:singlequote}), $environment)
    GROUP BY time
)
GROUP BY time, upper_ms
ORDER BY time, toFloat64(upper_ms)
