-- What those calls have in common that fail, and the others have not: the part of the failures that it covers, times how
-- much more often it fails than the rest. With it, what most of them say.
SELECT concat(if(best >= 0.2, concat(of, ' '), ''), said) AS culprit
FROM
(
    SELECT argMax(concat(name, '=', value), score) AS of, max(score) AS best
    FROM
    (
        SELECT cause.1 AS name, cause.2 AS value, count() AS calls, countIf(failed) AS bad,
            if(calls = all_calls, 0, bad / all_bad * (bad / calls - (all_bad - bad) / (all_calls - calls))) AS score
        FROM
        (
            SELECT StatusCode = 'Error' AS failed, count() OVER () AS all_calls, countIf(failed) OVER () AS all_bad,
                [('cloud.availability_zone', ResourceAttributes['cloud.availability_zone']),
                    ('cloud.region', ResourceAttributes['cloud.region']),
                    ('k8s.node.name', ResourceAttributes['k8s.node.name']),
                    ('host.name', ResourceAttributes['host.name']),
                    ('service.instance.id', ResourceAttributes['service.instance.id']),
                    ('service.version', ServiceVersion), ('operation', SpanName)] AS causes
            FROM otel_traces
            WHERE ServiceName = ${service:singlequote} AND Environment = ${environment:singlequote}
                AND SpanKind IN ('Server', 'Consumer') AND Timestamp > $__toTime - 300 AND Timestamp <= $__toTime
            LIMIT 50000
        )
        ARRAY JOIN causes AS cause
        WHERE value != ''
        GROUP BY name, value, all_calls, all_bad
    )
) AS common,
(
    SELECT topKIf(1)(StatusMessage, StatusMessage != '')[1] AS said
    FROM
    (
        SELECT StatusMessage
        FROM otel_traces
        WHERE ServiceName = ${service:singlequote} AND Environment = ${environment:singlequote} AND StatusCode = 'Error'
            AND SpanKind IN ('Server', 'Consumer') AND Timestamp > $__toTime - 300 AND Timestamp <= $__toTime
        LIMIT 50000
    )
) AS message
