(buckets, q) -> if(empty(buckets), NULL, exp2((mapKeys(buckets)[arrayFirstIndex(
    seen -> seen >= ceil(q * arraySum(mapValues(buckets))), arrayCumSum(mapValues(buckets)))] + 0.5) / 8)) AS quantile_ns
