SELECT concat(Client, ' > ', Server, ' ', Kind) AS id, Client AS source, Server AS target,
    sum(Calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS mainstat,
    max(P95) / 1e6 AS secondarystat,
    sum(Errors) / greatest(sum(Calls), 1) AS detail__errors
FROM service_map_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
GROUP BY id, source, target
ORDER BY id
