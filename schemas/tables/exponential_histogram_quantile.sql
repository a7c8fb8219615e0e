CREATE VIEW IF NOT EXISTS {database}.exponential_histogram_quantile_{tier} AS
SELECT
    *,
    {{q:Float64}} * UpTo[-1] AS Rank,
    arrayFirstIndex(reached -> reached >= Rank AND reached > 0, UpTo) AS Place,
    Distribution.1[Place] AS Bucket,
    (Rank - if(Place = 1, 0, UpTo[Place - 1])) / Distribution.2[Place] AS Share,
    abs(Bucket) - 1099511627776 AS Index,
    if(Distribution.1[1] >= 0 AND Distribution.1[-1] > 0, 0, -Zero) AS ZeroFrom,
    if(Distribution.1[-1] <= 0 AND Distribution.1[1] < 0, 0, Zero) AS ZeroTo,
    -- Prometheus' histogram_quantile of native histograms (3.x): exponential inside a bucket, linear in the zero bucket, which
    -- is on one side of 0 where all other buckets are.
    multiIf(
        isNaN({{q:Float64}}), nan,
        {{q:Float64}} < 0, -inf,
        {{q:Float64}} > 1, inf,
        Place = 0, nan,
        Bucket = 0, ZeroFrom + (ZeroTo - ZeroFrom) * Share,
        Bucket > 0, exp2((Index + Share) * Width),
        -exp2((Index + 1 - Share) * Width)
    ) AS Quantile
FROM
(
    -- In steps: an alias that stands in another is analysed again at each of its places, and was most of the time.
    SELECT *, arrayCumSum(Distribution.2) AS UpTo
    FROM
    (
        WITH
            -- A threshold swallows the buckets below it, and the one that it cuts whole (OpenTelemetry data model, "Zero Threshold").
            bucket -> (bucket != 0 AND exp2((abs(bucket) - 1099511627776) * Width) < ZeroThreshold) AS swallowed
        SELECT
            *,
            arrayReduce('sumMap', [arrayMap(bucket -> if(swallowed(bucket), 0, bucket), Merged.1)], [Merged.2]) AS Distribution,
            arrayMax(arrayConcat([ZeroThreshold],
                arrayMap(bucket -> if(swallowed(bucket), exp2((abs(bucket) - 1099511627776 + 1) * Width), 0), Merged.1))) AS Zero
        FROM
        (
            WITH
                -- include: coarser.sql
            SELECT
                Time,
                TenantId,
                Labels,
                Unit,
                any(Coarsest) AS Scale,
                sum(Counted) AS Count,
                sum(Added) AS Sum,
                max(Nothing) AS ZeroThreshold,
                sumMap(coarser(mapKeys(Gained), Finer, Coarsest), mapValues(Gained)) AS Merged,
                exp2(-Scale) AS Width
            FROM
            (
                WITH
                    -- include: window_of.sql
                SELECT
                    window_of(gained.Cell) AS Time,
                    gained.TenantId AS TenantId,
                    mapFilter((name, value) -> has({{by:Array(String)}}, name), mapUpdate(gained.Resource, gained.Own)) AS Labels,
                    gained.UnitOf AS Unit,
                    gained.Coarsest AS Finer,
                    gained.Nothing AS Nothing,
                    gained.Buckets AS Gained,
                    gained.Counted AS Counted,
                    gained.Added AS Added,
                    min(Finer) OVER (PARTITION BY Time, TenantId, Labels, Unit) AS Coarsest
                FROM {database}.exponential_histogram_gains_{tier}(
                    service = {{service:String}}, metric = {{metric:String}}, from = {{from:DateTime}}, to = {{to:DateTime}}
                ) AS gained
            )
            GROUP BY Time, TenantId, Labels, Unit
        )
    )
)
