-- Incident records, and what a webhook was told. Times are Unix seconds.
CREATE TABLE incidents (
    id              TEXT    PRIMARY KEY,
    rule            TEXT    NOT NULL,
    labels          TEXT    NOT NULL,
    severity        TEXT    NOT NULL,
    owner           TEXT    NOT NULL,
    team            TEXT    NOT NULL,
    summary         TEXT    NOT NULL,
    value           REAL    NOT NULL,
    peak            REAL    NOT NULL,
    started_s       REAL    NOT NULL,
    detected_s      REAL    NOT NULL,
    acknowledged_s  REAL,
    acknowledged_by TEXT    NOT NULL,
    restored_s      REAL,
    escalation      INTEGER NOT NULL,
    trace           TEXT    NOT NULL,
    culprit         TEXT    NOT NULL,
    over_told       INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX incidents_restored ON incidents (restored_s);
CREATE INDEX incidents_untold ON incidents (detected_s) WHERE over_told = 0;

-- Conditions that hold, not yet long enough: what a restart must not begin to count again. `seen_s` is when they last did.
CREATE TABLE pending (
    rule      TEXT NOT NULL,
    labels    TEXT NOT NULL,
    value     REAL NOT NULL,
    started_s REAL NOT NULL,
    seen_s    REAL NOT NULL,
    PRIMARY KEY (rule, labels)
) WITHOUT ROWID;

-- A receiver is told of an alert once, and again after a while; and that it is over only if it was told.
CREATE TABLE told (
    receiver    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    at_s        REAL NOT NULL,
    PRIMARY KEY (receiver, fingerprint)
) WITHOUT ROWID;
