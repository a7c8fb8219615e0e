-- What packed.sql made: (time, value).
point -> (
    fromUnixTimestamp64Nano(toInt64(bitShiftRight(point, 64))),
    reinterpretAsFloat64(toUInt64(bitAnd(point, 18446744073709551615)))
) AS unpacked
