-- Addresses that were called in these minutes and are not known as a service's yet.
SELECT DISTINCT toString(Server)
FROM service_edges_1m
WHERE Kind = 'host' AND Time >= {from_s:UInt32} AND Time < {to_s:UInt32}
    AND (TenantId, toString(Server)) NOT IN (SELECT TenantId, Address FROM service_addresses)
LIMIT {limit:UInt32}
