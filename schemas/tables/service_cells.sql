CREATE VIEW IF NOT EXISTS {database}.service_cells_{tier} AS
-- Cells of services, whatever their operations: `services_{tier}`, and before it came the cells of operations. A store that
-- began with it has it from the start; another has all of it from the next day on (as the audit reads it).
WITH
    (
        SELECT multiIf(
            countIf(Version >= 5) = 0, toDateTime('2106-01-01 00:00:00', 'UTC'),
            min(Version) >= 5, toDateTime(0, 'UTC'),
            toDateTime(toDate(minIf(AppliedAt, Version >= 5), 'UTC') + 1, 'UTC'))
        FROM {database}.schema_versions
    ) AS since
SELECT Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment,
    Calls, Errors, DurationSum, DurationBuckets, SlowestTrace{seen_columns}
FROM {database}.services_{tier}
WHERE Time >= since
UNION ALL
SELECT Time, TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment,
    Calls, Errors, DurationSum, DurationBuckets, SlowestTrace{seen_columns}
FROM {database}.spans_{tier}
WHERE Time < since
