-- Calls from service to service ({kind} = 'call') or messages ('message'), in the minutes in which they were received.
INSERT INTO service_edges_1m
    (Time, TenantId, Environment, Client, Server, Kind, Calls, Errors, DurationSum, DurationBuckets, SlowestTrace)
SELECT
    Minute,
    TenantId,
    Environment,
    Client,
    Server,
    {kind:String},
    count(),
    countIf(Failed),
    sum(Took),
    sumMap(map(toUInt16(floor(log2(greatest(Took, 1)) * 8)), toUInt64(1))),
    argMaxState(TraceId, if(TraceId = '', 0, Took))
FROM
(
    SELECT
        callee.Minute AS Minute,
        caller.TenantId AS TenantId,
        caller.Environment AS Environment,
        caller.ServiceName AS Client,
        callee.ServiceName AS Server,
        caller.TraceId AS TraceId,
        callee.Failed OR ({kind:String} = 'call' AND caller.Failed) AS Failed,
        -- What a caller waits for is the call; what a message waits for is its receiver.
        if({kind:String} = 'call', caller.Duration, toUInt64(greatest(callee.Start_ns - caller.Start_ns, 0))) AS Took
    FROM
    (
        SELECT
            TenantId,
            Environment,
            ServiceName,
            TraceId,
            Duration,
            StatusCode = 'Error' AS Failed,
            toUnixTimestamp64Nano(Timestamp) AS Start_ns,
            cityHash64(TenantId, TraceId, SpanId) AS Key
        FROM otel_traces
        WHERE SpanKind IN {caller_kinds:Array(String)}
            AND Timestamp >= toDateTime64({from_s:UInt32} - {window_s:UInt32}, 9)
            AND Timestamp < toDateTime64({to_s:UInt32} + 60, 9)
    ) AS caller
    INNER JOIN
    (
        SELECT
            toStartOfMinute(toDateTime(Timestamp)) AS Minute,
            ServiceName,
            StatusCode = 'Error' AS Failed,
            toUnixTimestamp64Nano(Timestamp) AS Start_ns,
            -- A receiver of several messages names them in its links.
            arrayJoin(arrayDistinct(arrayMap(
                span -> cityHash64(TenantId, span.1, span.2),
                arrayFilter(span -> span.2 != '', arrayPushFront(
                    if(SpanKind = 'Consumer', arrayZip(Links.TraceId, Links.SpanId), []), (TraceId, ParentSpanId)))
            ))) AS Key
        FROM otel_traces
        WHERE SpanKind = if({kind:String} = 'call', 'Server', 'Consumer')
            AND Timestamp >= toDateTime64({from_s:UInt32}, 9)
            AND Timestamp < toDateTime64({to_s:UInt32}, 9)
    ) AS callee ON callee.Key = caller.Key
    -- The same for a minute alone as for it among others, or a later look would see less.
    WHERE caller.Start_ns >= (toUnixTimestamp(callee.Minute) - {window_s:UInt32}) * 1000000000
        AND caller.Start_ns < (toUnixTimestamp(callee.Minute) + 120) * 1000000000
)
GROUP BY Minute, TenantId, Environment, Client, Server
