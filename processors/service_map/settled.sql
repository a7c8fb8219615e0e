INSERT INTO service_edges_settled (Time, Spans, SettledAt)
SELECT tupleElement(minute, 1), tupleElement(minute, 2), now64(3)
FROM (SELECT arrayJoin(arrayZip({minutes:Array(UInt32)}, {spans:Array(UInt64)})) AS minute)
