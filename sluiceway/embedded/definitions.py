"""What a file of ClickHouse's metadata defines, as far as a start depends on it.

Not ClickHouse's grammar: its own printer wrote these files, always in one form and with a newline at the end. What
lacks that form was written by somebody else or cut short, and the engine would refuse to start on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
UUID = re.compile(_UUID)
_NAME = rb"(?:\w+|`(?:[^`\\]|\\.|``)+`)"
_HEAD = re.compile(
    rb"(?:ATTACH|CREATE)\s+(?P<kind>DATABASE|TABLE|DICTIONARY|(?:MATERIALIZED |WINDOW |LIVE )?VIEW)\s+"
    + _NAME
    + rb"(?:\s+UUID\s+'(?P<uuid>"
    + _UUID
    + rb")')?\s",
    re.DOTALL,
)
_QUOTED = re.compile(rb"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|\"(?:[^\"\\]|\\.|\"\")*\"", re.DOTALL)
_STRAY = re.compile(rb"['`\"\x00-\x08\x0b-\x1f]")
_INNERMOST = re.compile(rb"\([^()\[\]{}]*\)|\[[^()\[\]{}]*\]|\{[^()\[\]{}]*\}")
_ENGINE = re.compile(rb"\bENGINE = (\w+)")
# The printer quotes a name that is a word of the language too: `Null`.
_QUOTED_ENGINE = re.compile(rb"\bENGINE = `(\w+)`")

# Of the engine in the wheel; a test holds them to its `system.table_engines` and `system.database_engines`.
_DATABASE_ENGINES = """
    Atomic Backup DataLakeCatalog Dictionary Filesystem HDFS MaterializedPostgreSQL Memory MySQL Ordinary PostgreSQL
    Remote RemoteSecure Replicated S3 SQLite URL"""
_TABLE_ENGINES = """
    AggregatingMergeTree Alias AzureBlobStorage AzureQueue BigQuery Buffer COSN CoalescingMergeTree
    CollapsingMergeTree DeltaLake DeltaLakeAzure DeltaLakeLocal DeltaLakeS3 Dictionary Distributed EmbeddedRocksDB
    Executable ExecutablePool File FileLog FuzzJSON FuzzQuery GCS GenerateRandom GraphiteMergeTree HDFS Hudi Iceberg
    IcebergAzure IcebergHDFS IcebergLocal IcebergS3 JDBC Join Kafka KeeperMap Log Loop MaterializedPostgreSQL
    MaterializedView Memory Merge MergeTree MongoDB MySQL Null ODBC OSS Paimon PaimonAzure PaimonHDFS PaimonLocal
    PaimonS3 PostgreSQL QueryRunner Redis Remote RemoteSecure ReplacingMergeTree ReplicatedAggregatingMergeTree
    ReplicatedCoalescingMergeTree ReplicatedCollapsingMergeTree ReplicatedGraphiteMergeTree ReplicatedMergeTree
    ReplicatedReplacingMergeTree ReplicatedSummingMergeTree ReplicatedVersionedCollapsingMergeTree S3 S3Queue SQLite Set
    StripeLog SummingMergeTree TimeSeries TinyLog URL VersionedCollapsingMergeTree View YTsaurus"""
DATABASE_ENGINES = frozenset(_DATABASE_ENGINES.split())
TABLE_ENGINES = frozenset(_TABLE_ENGINES.split())


@dataclass(frozen=True, slots=True)
class Definition:
    """One database or one thing in a database.

    Attributes:
        database: whether it is a database.
        uuid: '' where it has none.
        engine: '' where none is named, as of a view.
    """

    database: bool
    uuid: str
    engine: str

    @property
    def keeps_parts(self) -> bool:
        """Whether its folder holds parts."""
        return self.engine.endswith("MergeTree")


def parsed(text: bytes, *, engines_known: bool = True) -> Definition | None:
    """The definition in a file, None where the engine could not have written it.

    Args:
        text: the file's content.
        engines_known: whether an engine outside of our lists means that somebody else wrote it.
    """
    head = _HEAD.match(text)
    if head is None or not text.endswith(b"\n"):
        return None
    rest = _QUOTED.sub(b"?", _QUOTED_ENGINE.sub(rb"ENGINE = \1", text[head.end() :]))
    if _STRAY.search(rest):
        return None
    outermost, replaced = rest, 1
    while replaced:
        outermost, replaced = _INNERMOST.subn(b"?", outermost)
    if re.search(rb"[()\[\]{}]", outermost):
        return None
    kind, uuid = head["kind"].decode(), (head["uuid"] or b"").decode()
    if kind in ("DATABASE", "TABLE"):
        engine = found[1].decode("utf-8", "replace") if (found := _ENGINE.search(outermost)) else ""
        known = DATABASE_ENGINES if kind == "DATABASE" else TABLE_ENGINES
        # A table may be defined AS a function instead.
        if (engine not in known and engines_known) if engine else (kind == "DATABASE" or b"AS " not in outermost):
            return None
        return Definition(kind == "DATABASE", uuid, engine)
    if (b"PRIMARY KEY" if kind == "DICTIONARY" else b"AS ") not in rest:
        return None
    return Definition(False, uuid, "")
