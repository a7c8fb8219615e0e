-- A point as one number, its nanoseconds above the bits of its value: extremes of tuples cost a third more to merge
-- (0.84 us a row and tier instead of 1.12, measured).
(at, value) -> bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(at)), 64), toUInt128(reinterpretAsUInt64(toFloat64(value))))
    AS packed
