-- Minutes that have more spans than their edges were made from, newest first.
SELECT toUnixTimestamp(Minute), Spans
FROM
(
    SELECT Time AS Minute, sum(Calls) AS Spans FROM spans_1m WHERE Time >= {since_s:UInt32} GROUP BY Minute
) AS stored
LEFT JOIN
(
    SELECT Time AS Minute, max(Spans) AS Counted, max(SettledAt) AS Last
    FROM service_edges_settled
    WHERE Time >= {since_s:UInt32}
    GROUP BY Minute
) AS settled USING (Minute)
WHERE Spans > Counted AND Last <= now64(3) - toIntervalMillisecond({interval_ms:UInt32})
    -- Under load a minute is not looked at before it is over.
    AND (Spans <= {filling_spans:UInt64} OR Minute <= now() - 60)
ORDER BY Minute DESC
LIMIT {limit:UInt32}
