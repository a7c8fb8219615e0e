-- The dependency, and what most failed calls say.
SELECT concat(${dependency:singlequote}, ' ', topKIf(1)(said, said != '')[1]) AS culprit
FROM
(
    SELECT if(StatusMessage != '', StatusMessage,
        concat(SpanAttributes['error.type'], arrayFirst(each -> each != '',
            arrayMap(of -> of['exception.message'], Events.Attributes)))) AS said
    FROM otel_traces
    WHERE ServiceName = ${service:singlequote} AND Environment = ${environment:singlequote} AND StatusCode = 'Error'
        AND SpanKind IN ('Client', 'Producer') AND Timestamp > $__toTime - 300 AND Timestamp <= $__toTime
    LIMIT 50000
)
