CREATE VIEW IF NOT EXISTS {database}.exponential_histogram_{tier} AS
WITH
    -- include: window_of.sql
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Coarsest) AS Scale,
    max(Nothing) AS ZeroThreshold,
    -- Positive buckets are 2^40 + index, negative ones the negative of that, the zero bucket is 0: in the order of values.
    mapFilter((bucket, counted) -> counted != 0, sumMap(gained.Buckets)) AS Buckets,
    Buckets[0] AS ZeroCount,
    mapApply((bucket, counted) -> (bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket > 0, Buckets)) AS Positive,
    mapApply((bucket, counted) -> (-bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket < 0, Buckets)) AS Negative,
    sum(Counted) AS Count,
    sum(Added) AS Sum,
    Count / {{step:UInt32}} AS Rate,
    sum(Fell) AS Resets,
    sum(Seen) AS Points,
    argMaxArrayMerge(Exemplars) AS ExemplarTraceId
FROM {database}.exponential_histogram_gains_{tier}(
    service = {{service:String}}, metric = {{metric:String}}, from = {{from:DateTime}}, to = {{to:DateTime}}
) AS gained
GROUP BY Time, TenantId, SeriesId
