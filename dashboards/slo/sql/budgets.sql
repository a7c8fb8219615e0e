-- What is left of each budget of its rolling period, in whole hours, and how fast it burned in the last hour.
WITH
    -- include: objectives.sql,
    cells AS
    (
        -- include: matched.sql
        FROM spans_1h AS cell
        -- include: matching.sql
            AND cell.Time > $__toTime - period_s AND cell.Time <= $__toTime
            AND cell.Time > $__toTime - (SELECT max(period_s) FROM objectives)
        UNION ALL
        SELECT objectives.*, $__toTime AS time, toInt64(0) AS calls, toInt64(0) AS bad FROM objectives
    ),
    minutes AS
    (
        -- include: matched.sql
        FROM spans_1m AS cell
        -- include: matching.sql
            AND cell.Time > $__toTime - 3600 AND cell.Time <= $__toTime
    )
SELECT period.slo AS SLO, period.service AS Service, period.target AS Target,
    if(period.calls = 0, NULL, 1 - period.bad / period.calls) AS Good,
    if(period.calls = 0, NULL, 1 - period.bad / period.calls / (1 - period.target)) AS BudgetLeft,
    if(hour.calls = 0, 0, hour.bad / hour.calls / (1 - period.target)) AS BurnRate,
    period.calls AS Calls, period.bad AS BadCalls
FROM
(
    SELECT slo, any(service) AS service, any(target) AS target, sum(calls) AS calls, sum(bad) AS bad
    FROM cells GROUP BY slo
) AS period
LEFT JOIN (SELECT slo, sum(calls) AS calls, sum(bad) AS bad FROM minutes GROUP BY slo) AS hour ON hour.slo = period.slo
ORDER BY BudgetLeft, SLO
