CREATE VIEW IF NOT EXISTS {database}.histogram_quantile_{tier} AS
SELECT
    Time,
    TenantId,
    mapFilter((name, value) -> has({{by:Array(String)}}, name), mapUpdate(ResourceAttributes, Attributes)) AS Labels,
    series.Unit AS Unit,
    series.Bounds AS Bounds,
    sumForEach(series.Buckets) AS Buckets,
    sum(series.Count) AS Count,
    sum(series.Sum) AS Sum,
    arrayCumSum(Buckets) AS UpTo,
    {{q:Float64}} * UpTo[-1] AS Rank,
    arrayFirstIndex(reached -> reached >= Rank, UpTo) AS Bucket,
    if(Bucket = 1, 0, Bounds[Bucket - 1]) AS Lower,
    -- Prometheus' histogram_quantile (promql/quantile.go, bucketQuantile): linear inside a bucket; the first begins at 0
    -- unless its bound is negative or 0; the last, which has no end, is its lower bound.
    multiIf(
        empty(Bounds) OR isNaN({{q:Float64}}), nan,
        {{q:Float64}} < 0, -inf,
        {{q:Float64}} > 1, inf,
        UpTo[-1] = 0, nan,
        Bucket > length(Bounds), Bounds[-1],
        Bucket = 1 AND Bounds[1] <= 0, Bounds[1],
        Lower + (Bounds[Bucket] - Lower) * ((Rank - if(Bucket = 1, 0, UpTo[Bucket - 1])) / Buckets[Bucket])
    ) AS Quantile
FROM {database}.histogram_{tier}(
    service = {{service:String}}, metric = {{metric:String}}, from = {{from:DateTime}}, to = {{to:DateTime}}, step = {{step:UInt32}}
) AS series
GROUP BY Time, TenantId, Labels, Unit, Bounds
