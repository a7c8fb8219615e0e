CREATE TABLE IF NOT EXISTS {database}.ledger
(
    Time DateTime64(3),
    TenantId LowCardinality(String),
    LogId LowCardinality(String),
    Signal LowCardinality(String),
    Topic LowCardinality(String),
    Partition UInt32,
    FirstOffset UInt64,
    LastOffset UInt64,
    TableName LowCardinality(String),
    Day Date,
    Received UInt64,
    Stored UInt64,
    Rejected UInt64,
    SampledOut UInt64,
    DeadLettered UInt64,
    Redacted UInt64,
    Folded UInt64
)
ENGINE = MergeTree
ORDER BY (LogId, Topic, Partition, FirstOffset, TenantId, TableName, Day)
SETTINGS {settings}
