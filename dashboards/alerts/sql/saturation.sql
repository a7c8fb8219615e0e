-- How full what has a limit is: gauges `*.utilization` of the semantic conventions, 0 to 1, by service, instance and what
-- the series is of; the emptiest of the last three whole minutes. What is idle or free is the other side of it.
SELECT service, tenant, metric, instance, part, if(count() < 3, 0, min(used)) AS value
FROM
(
    SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant, toString(MetricName) AS metric, Time,
        arrayFirst(each -> each != '', [JSONExtractString(ResourceAttributes, 'host.name'),
            JSONExtractString(ResourceAttributes, 'k8s.pod.name'),
            JSONExtractString(ResourceAttributes, 'service.instance.id')]) AS instance,
        arrayStringConcat(arraySort(arrayMap(pair -> pair.2, arrayFilter(
            pair -> match(pair.1, '(state|mode|pool\\.name|device|mountpoint)$'),
            JSONExtractKeysAndValues(Attributes, 'String')))), ' ') AS part,
        sum(Sum) / sum(Points) AS used
    FROM numbers_1m
    WHERE MetricName LIKE '%utilization' AND Kind = 'gauge' AND Time > $__toTime - 240 AND Time <= $__toTime - 59
    GROUP BY service, tenant, metric, instance, part, Time
)
WHERE part NOT IN ('idle', 'free')
GROUP BY service, tenant, metric, instance, part
