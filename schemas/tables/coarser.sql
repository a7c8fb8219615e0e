-- Numbers of buckets at a coarser scale: bucket i of a scale k finer is bucket floor(i / 2^k).
(buckets, finer, coarse) -> arrayMap(bucket -> if(bucket = 0, 0, sign(bucket)
    * (1099511627776 + toInt64(floor((abs(bucket) - 1099511627776) / exp2(finer - coarse))))), buckets) AS coarser
