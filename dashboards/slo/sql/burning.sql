-- Burn rates over time: 1 spends the budget exactly at the end of its period.
WITH
    -- include: objectives.sql,
    cells AS
    (
        -- include: matched.sql
        FROM spans_1m AS cell
        -- include: matching.sql
            AND $__timeFilter(cell.Time)
    )
SELECT $__timeInterval(time) AS time, slo, sum(bad) / sum(calls) / (1 - any(target)) AS `burn rate`
FROM cells
GROUP BY time, slo
ORDER BY time, slo
