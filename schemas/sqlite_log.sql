-- The embedded log. Bodies are apart from what describes them, so that planning a read, the audit and retention
-- never touch a 64 KiB page of payload for a 60-byte row.

-- Offsets start at 0 in every new file, so tokens and ledger rows name the log that they are about.
CREATE TABLE identity (
    log_id TEXT NOT NULL
);

INSERT INTO identity (log_id) VALUES (lower(hex(randomblob(8))));

CREATE TABLE bodies (
    id             INTEGER PRIMARY KEY,
    -- What `value` unpacks to (schemas/sqlite_bodies.py); 0: it is as it came.
    unpacked_bytes INTEGER NOT NULL DEFAULT 0,
    value          BLOB    NOT NULL
);

CREATE TABLE records (
    topic          TEXT    NOT NULL,
    offset         INTEGER NOT NULL,
    body_id        INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    items          INTEGER NOT NULL,
    rejected       INTEGER NOT NULL,
    received_at_ns INTEGER NOT NULL,
    tenant         TEXT    NOT NULL,
    headers        TEXT    NOT NULL,
    PRIMARY KEY (topic, offset)
) WITHOUT ROWID;

-- Offsets restart from here when retention has deleted every record of a topic.
CREATE TABLE log_starts (
    topic  TEXT    PRIMARY KEY,
    offset INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE counts (
    topic    TEXT    NOT NULL,
    tenant   TEXT    NOT NULL,
    records  INTEGER NOT NULL,
    items    INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    PRIMARY KEY (topic, tenant)
) WITHOUT ROWID;

-- A frozen range is next_offset .. frozen_last. `owner` fences a reader whose place another one took.
CREATE TABLE progress (
    consumer_group TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    next_offset    INTEGER NOT NULL,
    frozen_last    INTEGER,
    owner          TEXT    NOT NULL,
    PRIMARY KEY (consumer_group, topic)
) WITHOUT ROWID;

-- When every group had passed an offset; what retention by age goes by, so that a record's own clock cannot matter.
CREATE TABLE stored_marks (
    topic  TEXT    NOT NULL,
    offset INTEGER NOT NULL,
    at_ns  INTEGER NOT NULL,
    PRIMARY KEY (topic, offset)
) WITHOUT ROWID;

-- AUTOINCREMENT: an id that retention deleted is never given to another dead letter.
CREATE TABLE dead_letters (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    offset         INTEGER NOT NULL,
    body_id        INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    items          INTEGER,
    rejected       INTEGER NOT NULL,
    received_at_ns INTEGER NOT NULL,
    tenant         TEXT    NOT NULL,
    headers        TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    message        TEXT    NOT NULL,
    failed_at_ns   INTEGER NOT NULL,
    redriven_at_ns INTEGER,
    UNIQUE (topic, partition, offset)
);

CREATE INDEX dead_letters_waiting ON dead_letters (topic, id) WHERE redriven_at_ns IS NULL;

-- The offset below which every group has stored a topic's records. A topic without a group has no row: nothing is stored.
CREATE VIEW stored AS
SELECT topic, MIN(next_offset) AS next_offset FROM progress GROUP BY topic;
