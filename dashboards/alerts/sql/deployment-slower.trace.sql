SELECT argMaxMerge(SlowestTrace) AS trace
FROM spans_1m
WHERE ServiceName = ${service:singlequote} AND ServiceVersion = ${version:singlequote} AND $__timeFilter(Time)
    AND SpanKind IN ('Server', 'Consumer')
HAVING trace != ''
