-- Metrics that each service sent in the period, with kind and unit.
SELECT toString(ServiceName) AS service, toString(MetricName) AS metric, toString(Kind) AS kind, toString(any(Unit)) AS unit,
    toBool(any(Monotonic)) AS monotonic
FROM inventory_metrics
WHERE TenantId = '' AND LastSeen >= toDateTime({from_s:UInt32}) AND ServiceName != ''
GROUP BY service, metric, kind
ORDER BY service, metric, kind
