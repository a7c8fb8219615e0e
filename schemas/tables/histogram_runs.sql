lagInFrame(Latest) OVER series AS Before,
lagInFrame(StartTime) OVER series AS StartBefore,
lagInFrame(toUInt8(1)) OVER series AS Follows,
-- A histogram never counts down: one whose count falls began anew, whole, whatever its buckets say apart.
NOT Delta AND Follows AND (StartTime > StartBefore AND StartTime >= Before.1 OR Earliest.2 < Before.2) AS BeganAnew,
NOT Delta AND Latest.2 < Earliest.2 AS FellInside,
toUInt8(BeganAnew) + toUInt8(FellInside) AS Fell
