-- What most of the records say, numbers left out.
SELECT concat(toString(round(100 * max(records) / sum(records))), ' % say: ', argMax(said, records)) AS culprit
FROM
(
    SELECT substring(replaceRegexpAll(substring(Body, 1, 200), '[0-9a-f]*[0-9][0-9a-f]*', '#'), 1, 100) AS said,
        count() AS records
    FROM
    (
        SELECT Body
        FROM otel_logs
        WHERE ServiceName = ${service:singlequote} AND Timestamp > $__toTime - 300 AND Timestamp <= $__toTime
        LIMIT 50000
    )
    GROUP BY said
)
HAVING sum(records) > 0
