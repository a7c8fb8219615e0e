SELECT if(${indicator:singlequote} = 'latency' OR failed = '', slowest, failed) AS trace
FROM
(
    SELECT argMaxMergeIf(SlowestTrace, StatusCode = 'Error') AS failed, argMaxMerge(SlowestTrace) AS slowest
    FROM spans_1m
    WHERE ServiceName = ${service:singlequote} AND $__timeFilter(Time) AND SpanKind IN ('Server', 'Consumer')
        AND (${environment:singlequote} = '' OR Environment = ${environment:singlequote})
)
WHERE trace != ''
