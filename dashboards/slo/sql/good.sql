-- Shares of good calls over time.
WITH
    -- include: objectives.sql,
    cells AS
    (
        -- include: matched.sql
        FROM spans_1m AS cell
        -- include: matching.sql
            AND $__timeFilter(cell.Time)
    )
SELECT $__timeInterval(time) AS time, slo, 1 - sum(bad) / sum(calls) AS good
FROM cells
GROUP BY time, slo
ORDER BY time, slo
