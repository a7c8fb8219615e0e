SELECT if(TenantId = '', '(none)', TenantId) AS Tenant, Signal, sum(Received) AS ReceivedItems, sum(Stored) AS StoredItems,
    sum(Rejected) AS RejectedItems, sum(SampledOut) AS SampledOutItems, sum(DeadLettered) AS DeadLetteredItems,
    toInt64(ReceivedItems) - toInt64(StoredItems + RejectedItems + SampledOutItems + DeadLetteredItems) AS Difference,
    sum(Redacted) AS RedactedItems, sum(Folded) AS FoldedItems
FROM ledger
WHERE $__timeFilter(Time)
GROUP BY Tenant, Signal
ORDER BY Tenant, Signal
LIMIT 500
