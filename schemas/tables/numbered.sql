-- One number a bucket, in the order of its values: positive buckets are 2^40 + index, negative ones the negative of that,
-- the zero bucket is 0. Indexes have 32 bits.
(above_from, above, below_from, below) -> arrayConcat(
    arrayMap(i -> -(1099511627776 + toInt64(below_from) + toInt64(i) - 1), arrayEnumerate(below)),
    [toInt64(0)],
    arrayMap(i -> 1099511627776 + toInt64(above_from) + toInt64(i) - 1, arrayEnumerate(above))
) AS numbered
