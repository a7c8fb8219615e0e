CREATE TABLE IF NOT EXISTS {database}.redaction_policies
(
    LogId LowCardinality(String),
    Topic LowCardinality(String),
    Partition UInt32,
    FirstOffset UInt64,
    KeyId LowCardinality(String),
    Rules String,
    RecordedAt DateTime DEFAULT now()
)
ENGINE = MergeTree
ORDER BY (LogId, Topic, Partition, FirstOffset)
SETTINGS {settings}
