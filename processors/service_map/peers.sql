-- What one span alone tells: calls to databases and hosts, messages into queues and out of them.
INSERT INTO service_edges_1m
    (Time, TenantId, Environment, Client, Server, Kind, Calls, Errors, DurationSum, DurationBuckets, SlowestTrace)
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Minute,
    TenantId,
    Environment,
    if(EdgeKind = 'delivery', Peer, toString(ServiceName)) AS Client,
    if(EdgeKind = 'delivery', toString(ServiceName), Peer) AS Server,
    EdgeKind,
    count(),
    countIf(StatusCode = 'Error'),
    sum(Duration),
    sumMap(map(toUInt16(floor(log2(greatest(Duration, 1)) * 8)), toUInt64(1))),
    argMaxState(TraceId, if(TraceId = '', 0, Duration))
FROM
(
    SELECT
        *,
        -- include: address.sql
        AS Address,
        coalesce(nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'db.system.name')], ''), SpanAttributes.values[indexOf(SpanAttributes.keys, 'db.system')]) AS Database,
        coalesce(nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'db.namespace')], ''), SpanAttributes.values[indexOf(SpanAttributes.keys, 'db.name')]) AS Namespace,
        SpanAttributes.values[indexOf(SpanAttributes.keys, 'messaging.system')] AS Queue,
        coalesce(
            nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'messaging.destination.name')], ''), SpanAttributes.values[indexOf(SpanAttributes.keys, 'messaging.destination')]
        ) AS Destination,
        coalesce(
            nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'messaging.operation.type')], ''), SpanAttributes.values[indexOf(SpanAttributes.keys, 'messaging.operation')]
        ) AS Operation,
        multiIf(
            SpanKind = 'Client' AND Database != '', 'database',
            SpanKind = 'Consumer' AND Queue != '', 'delivery',
            SpanKind = 'Producer' AND Queue != '', 'queue',
            -- Fetching and acknowledging are not the delivery, which has a Consumer span of its own.
            Queue != '' AND Operation IN ('receive', 'settle'), '',
            SpanKind = 'Client' AND Queue != '', 'queue',
            SpanKind = 'Client' AND Address != '', 'host',
            ''
        ) AS EdgeKind,
        multiIf(
            EdgeKind = 'host', Address,
            EdgeKind = 'database', concat(Database, multiIf(
                Namespace != '', concat('/', Namespace), Address != '', concat('@', Address), '')),
            concat(Queue, if(Destination != '', concat('/', Destination), ''))
        ) AS Peer
    FROM otel_traces
    WHERE SpanKind IN ('Client', 'Producer', 'Consumer')
        AND Timestamp >= toDateTime64({from_s:UInt32}, 9)
        AND Timestamp < toDateTime64({to_s:UInt32}, 9)
)
WHERE EdgeKind != ''
GROUP BY Minute, TenantId, Environment, Client, Server, EdgeKind
