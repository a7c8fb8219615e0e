SELECT Timestamp AS timestamp, Body AS body, lower(SeverityText) AS level, TraceId AS traceID, ServiceName, LogAttributes,
    ResourceAttributes
FROM otel_logs
WHERE Timestamp >= toDateTime64($__fromTime, 9) AND Timestamp <= toDateTime64($__toTime, 9)
    AND $__conditionalAll(ServiceName IN (${service:singlequote}), $service)
    -- A single word is looked up in the index; anything else is looked for in every body of the range.
    AND (${search:singlequote} = '' OR if(match(${search:singlequote}, '^[A-Za-z0-9]+$'),
        hasToken(lower(Body), lower(${search:singlequote})), positionCaseInsensitive(Body, ${search:singlequote}) > 0))
ORDER BY Timestamp DESC
LIMIT 500
