    -- The span of rank ceil(q * calls) lies in the returned bucket; its geometric middle is within 4.5 % of every duration
    -- in it, as bucket i covers 2^(i/8) to 2^((i+1)/8) ns. NULL when there was no call.
    (buckets, q) -> if(empty(buckets), NULL, exp2((mapKeys(buckets)[arrayFirstIndex(
        seen -> seen >= ceil(q * arraySum(mapValues(buckets))), arrayCumSum(mapValues(buckets)))] + 0.5) / 8)) AS latency_quantile
