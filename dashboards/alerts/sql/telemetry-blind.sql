-- Seconds since the newest batch that was stored; the time of a batch is when its newest record was received.
SELECT 'all' AS scope, toFloat64(toUInt32($__toTime)) - toFloat64(max(Time)) AS value
FROM ledger
WHERE $__timeFilter(Time)
HAVING count() > 0
