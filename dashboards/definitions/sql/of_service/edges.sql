-- What kinds of calls each service made or received in the period.
SELECT service, arraySort(groupUniqArray(kind)) AS kinds
FROM
(
    SELECT arrayJoin([toString(Client), toString(Server)]) AS service, toString(Kind) AS kind
    FROM service_map_1h(from = toDateTime({from_s:UInt32}), to = toDateTime({to_s:UInt32}))
    WHERE TenantId = ''
)
GROUP BY service
ORDER BY service
