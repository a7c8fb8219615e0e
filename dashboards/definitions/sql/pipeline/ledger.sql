SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time, Signal AS signal,
    sum(Stored) / greatest($__interval_s, 60) AS stored
FROM ledger
WHERE $__timeFilter(Time) AND TableName != ''
GROUP BY time, signal
ORDER BY time, signal
