SELECT argMaxMergeIf(SlowestTrace, StatusCode = 'Error') AS trace
FROM spans_1m
WHERE ServiceName = ${service:singlequote} AND Environment = ${environment:singlequote} AND SpanKind IN ('Server', 'Consumer')
    AND Time > $__toTime - 600 AND Time <= $__toTime
HAVING trace != ''
