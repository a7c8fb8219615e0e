-- Every service seen in a window: its RED totals, the recent window against the rest of it, and a series for sparklines.
-- Series: (step's start in Unix seconds, calls, errors, p50, p95, p99 in ns), steps without calls left out.
WITH
-- include: latency_quantile.sql
SELECT
    ServiceName,
    sum(StepCalls) AS Calls,
    sum(StepErrors) AS Errors,
    min(FirstMinute) AS FirstSeen,
    max(LastMinute) AS LastSeen,
    latency_quantile(sumMap(StepBuckets), 0.5) AS P50,
    latency_quantile(sumMap(StepBuckets), 0.95) AS P95,
    latency_quantile(sumMap(StepBuckets), 0.99) AS P99,
    sum(StepRecentCalls) AS RecentCalls,
    sum(StepRecentErrors) AS RecentErrors,
    latency_quantile(sumMap(StepRecentBuckets), 0.95) AS RecentP95,
    latency_quantile(sumMap(StepEarlierBuckets), 0.95) AS EarlierP95,
    arraySort(groupArray((
        Step, StepCalls, StepErrors,
        latency_quantile(StepBuckets, 0.5), latency_quantile(StepBuckets, 0.95), latency_quantile(StepBuckets, 0.99)
    ))) AS Series
FROM (
    SELECT
        ServiceName,
        intDiv(toUnixTimestamp(Time), {step_s:UInt32}) * {step_s:UInt32} AS Step,
        toUnixTimestamp(min(Time)) AS FirstMinute,
        toUnixTimestamp(max(Time)) AS LastMinute,
        sum(Calls) AS StepCalls,
        sum(Errors) AS StepErrors,
        sumMap(DurationBuckets) AS StepBuckets,
        sumIf(Calls, Time >= toDateTime({recent_from_s:UInt32})) AS StepRecentCalls,
        sumIf(Errors, Time >= toDateTime({recent_from_s:UInt32})) AS StepRecentErrors,
        sumMapIf(DurationBuckets, Time >= toDateTime({recent_from_s:UInt32})) AS StepRecentBuckets,
        sumMapIf(DurationBuckets, Time < toDateTime({recent_from_s:UInt32})) AS StepEarlierBuckets
    FROM spans_1m
    WHERE Time >= toDateTime({from_s:UInt32}) AND Time < toDateTime({to_s:UInt32})
        AND ({service:String} = '' OR ServiceName = {service:String})
-- include: entry_spans.sql
    GROUP BY ServiceName, Step
)
GROUP BY ServiceName
ORDER BY ServiceName
