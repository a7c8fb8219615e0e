SELECT sum(Calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS rate
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
