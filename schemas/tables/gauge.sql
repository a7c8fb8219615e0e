CREATE VIEW IF NOT EXISTS {database}.gauge_{tier} AS
WITH
    -- include: window_of.sql,
    -- include: unpacked.sql
SELECT
    window_of(cell.Time) AS Time,
    cell.TenantId AS TenantId,
    cell.SeriesId AS SeriesId,
    JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS ResourceAttributes,
    JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Attributes,
    any(cell.Unit) AS Unit,
    min(cell.Min) AS Lowest,
    max(cell.Max) AS Highest,
    sum(cell.Sum) / sum(cell.Points) AS Average,
    unpacked(max(cell.Last)).2 AS Latest,
    sum(cell.Points) AS Points,
    argMaxArrayMerge(cell.Exemplar) AS ExemplarTraceId
FROM {database}.numbers_{tier} AS cell
WHERE cell.ServiceName = {{service:String}} AND cell.MetricName = {{metric:String}}
    AND cell.Time >= {{from:DateTime}} AND cell.Time < {{to:DateTime}}
GROUP BY Time, TenantId, SeriesId
