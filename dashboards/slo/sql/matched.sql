-- Buckets below `fast_below` end within the threshold.
SELECT objectives.*, cell.Time AS time, toInt64(cell.Calls) AS calls,
    toInt64(if(fast_below < 0, cell.Errors,
        cell.Calls - arraySum((bucket, seen) -> if(bucket < fast_below, seen, 0),
            mapKeys(cell.DurationBuckets), mapValues(cell.DurationBuckets)))) AS bad
