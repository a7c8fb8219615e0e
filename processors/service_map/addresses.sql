-- Under which addresses the services of these minutes were reached.
INSERT INTO service_addresses (TenantId, Address, ServiceName, LastSeen)
SELECT caller.TenantId, caller.Address, callee.ServiceName, max(callee.Second)
FROM
(
    SELECT
        TenantId,
        -- include: address.sql
        AS Address,
        cityHash64(TenantId, TraceId, SpanId) AS Key
    FROM otel_traces
    WHERE SpanKind = 'Client'
        AND Timestamp >= toDateTime64({from_s:UInt32} - {window_s:UInt32}, 9)
        AND Timestamp < toDateTime64({to_s:UInt32} + 60, 9)
        AND Address IN {addresses:Array(String)}
) AS caller
INNER JOIN
(
    SELECT ServiceName, toDateTime(Timestamp) AS Second, cityHash64(TenantId, TraceId, ParentSpanId) AS Key
    FROM otel_traces
    WHERE SpanKind = 'Server' AND ParentSpanId != ''
        AND Timestamp >= toDateTime64({from_s:UInt32}, 9)
        AND Timestamp < toDateTime64({to_s:UInt32}, 9)
) AS callee ON callee.Key = caller.Key
GROUP BY caller.TenantId, caller.Address, callee.ServiceName
