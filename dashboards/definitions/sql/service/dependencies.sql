SELECT
    if(Client = ${service:singlequote}, 'calls', 'is called by') AS Direction,
    if(Client = ${service:singlequote}, Server, Client) AS Peer,
    Kind,
    sum(Calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS Rate,
    sum(Errors) / greatest(sum(Calls), 1) AS ErrorShare,
    max(P95) AS P95,
    any(SlowTraceId) AS SlowTrace
FROM service_map_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
WHERE Client = ${service:singlequote} OR Server = ${service:singlequote}
GROUP BY Direction, Peer, Kind
ORDER BY Direction, Rate DESC
LIMIT 200
