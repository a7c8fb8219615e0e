CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{series}_1h_mv TO {database}.{series}_1h AS
SELECT * REPLACE (toStartOfHour(Time, 'UTC') AS Time)
FROM {database}.{series}_1m
