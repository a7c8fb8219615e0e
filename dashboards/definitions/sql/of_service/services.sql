-- Services with spans in the period.
SELECT DISTINCT toString(ServiceName) AS service
FROM spans_1h
WHERE TenantId = '' AND Time >= toDateTime({from_s:UInt32}) AND Time < toDateTime({to_s:UInt32}) AND ServiceName != ''
ORDER BY service
