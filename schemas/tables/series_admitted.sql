CREATE TABLE IF NOT EXISTS {database}.series_admitted
(
    Window DateTime,
    TenantId LowCardinality(String),
    ServiceName LowCardinality(String),
    MetricName LowCardinality(String),
    Series UInt64,
    SeenAt DateTime DEFAULT now()
)
ENGINE = MergeTree
PARTITION BY toDate(Window)
ORDER BY (Window, TenantId, ServiceName, MetricName, Series)
TTL Window + toIntervalDay(2)
SETTINGS {settings}
