-- Shares of bad calls against what each pair of windows allows: above 1, both windows burn the budget too fast.
-- The last six hours are read by minutes, what is older by whole hours. An objective without calls stays in the answer,
-- so that its alert resolves.
WITH
    -- include: objectives.sql,
    toStartOfHour($__toTime - 21600) AS minutes_from,
    cells AS
    (
        -- include: matched.sql
        FROM spans_1m AS cell
        -- include: matching.sql
            AND cell.Time >= greatest($__fromTime, minutes_from) AND cell.Time <= $__toTime
        UNION ALL
        -- include: matched.sql
        FROM spans_1h AS cell
        -- include: matching.sql
            AND cell.Time >= $__fromTime AND cell.Time < minutes_from
        UNION ALL
        SELECT objectives.*, $__toTime AS time, toInt64(0) AS calls, toInt64(0) AS bad FROM objectives
    )
SELECT slo, service, environment, indicator, burn_window,
    if(long_bad < min_failures, 0, least(long_bad / long_calls, short_bad / greatest(short_calls, 1)) / share) AS value
FROM
(
    SELECT slo, service, environment, indicator, pair.name AS burn_window, any(pair.share) AS share,
        any(min_failures) AS min_failures,
        sumIf(calls, time > $__toTime - pair.long_s) AS long_calls, sumIf(bad, time > $__toTime - pair.long_s) AS long_bad,
        sumIf(calls, time > $__toTime - pair.short_s) AS short_calls,
        sumIf(bad, time > $__toTime - pair.short_s) AS short_bad
    FROM cells ARRAY JOIN pairs AS pair
    GROUP BY slo, service, environment, indicator, burn_window
)
ORDER BY slo, burn_window
