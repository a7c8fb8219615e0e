CREATE VIEW IF NOT EXISTS {database}.gauge_{tier} AS
SELECT
    {{from:DateTime}} + intDiv(toUnixTimestamp(cell.Time) - toUnixTimestamp({{from:DateTime}}), {{step:UInt32}}) * {{step:UInt32}}
        AS Time,
    cell.TenantId AS TenantId,
    cell.SeriesId AS SeriesId,
    JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS ResourceAttributes,
    JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Attributes,
    any(cell.Unit) AS Unit,
    min(cell.Min) AS Lowest,
    max(cell.Max) AS Highest,
    sum(cell.Sum) / sum(cell.Points) AS Average,
    reinterpretAsFloat64(toUInt64(bitAnd(max(cell.Last), 18446744073709551615))) AS Latest,
    sum(cell.Points) AS Points,
    argMaxArrayMerge(cell.Exemplar) AS ExemplarTraceId
FROM {database}.numbers_{tier} AS cell
WHERE cell.ServiceName = {{service:String}} AND cell.MetricName = {{metric:String}}
    AND cell.Time >= {{from:DateTime}} AND cell.Time < {{to:DateTime}}
GROUP BY Time, TenantId, SeriesId
