SELECT toString(TenantId) AS tenant, toString(Signal) AS signal,
    abs(toInt64(sum(Received)) - toInt64(sum(Stored) + sum(Rejected) + sum(SampledOut) + sum(DeadLettered))) AS value
FROM ledger
WHERE $__timeFilter(Time)
GROUP BY tenant, signal
