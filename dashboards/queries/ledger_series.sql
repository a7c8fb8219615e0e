-- Items read from the log and rows stored, a row per signal and step, by the time of the batch.
SELECT
    Signal,
    intDiv(toUnixTimestamp(Time), {step_s:UInt32}) * {step_s:UInt32} AS Step,
    sum(ledger.Received) AS ReceivedItems,
    sum(ledger.Stored) AS StoredItems
FROM ledger
WHERE Time >= toDateTime64({from_s:UInt32}, 3) AND Time < toDateTime64({to_s:UInt32}, 3)
GROUP BY Signal, Step
ORDER BY Signal, Step
