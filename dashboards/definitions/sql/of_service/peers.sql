-- Those that it calls or is called by in these ways.
SELECT if(Client = ${service:singlequote}, Server, Client) AS Peer, Kind,
    sum(Calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS Rate,
    sum(Errors) / greatest(sum(Calls), 1) AS ErrorShare, max(P95) AS P95, any(SlowTraceId) AS SlowTrace
FROM service_map_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
WHERE (Client = ${service:singlequote} OR Server = ${service:singlequote}) AND Kind IN ({kinds})
GROUP BY Peer, Kind
ORDER BY Rate DESC
LIMIT 100
