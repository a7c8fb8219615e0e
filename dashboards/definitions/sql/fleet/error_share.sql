SELECT sum(Errors) / greatest(sum(Calls), 1) AS share
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
