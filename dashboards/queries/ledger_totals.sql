-- What the ledger counts in all, per tenant, signal and topic, of the batches below the offsets given: a batch past them
-- may be half written, and its records are still in flight. `partitions` are 'topic/partition', `next_offsets` the committed
-- offset of each; of a partition that is not named nothing counts.
SELECT
    TenantId,
    Signal,
    Topic,
    sum(ledger.Received) AS ReceivedItems,
    sum(ledger.Stored) AS StoredItems,
    sum(ledger.Rejected) AS RejectedItems,
    sum(ledger.SampledOut) AS SampledOutItems,
    sum(ledger.DeadLettered) AS DeadLetteredItems
FROM ledger
WHERE LastOffset < {next_offsets:Array(UInt64)}[indexOf({partitions:Array(String)}, concat(Topic, '/', toString(Partition)))]
GROUP BY TenantId, Signal, Topic
ORDER BY TenantId, Signal, Topic
