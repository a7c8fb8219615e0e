CREATE TABLE IF NOT EXISTS {database}.schema_versions
(
    Version UInt32,
    Checksum String,
    AppliedAt DateTime64(3) DEFAULT now64(3),
    Statements Array(String)
)
ENGINE = MergeTree
ORDER BY (Version, AppliedAt)
SETTINGS {settings}
