"""Who may do what in the store: its users, their grants, and the file that tells the engine.

A reader may do what is written here and nothing else: `readonly` = 1 refuses every change of a setting but of those in
`limits.CHANGEABLE`, grants refuse every table but ours and a few of the system's. Each of our own parts reads as a user
of its own, so that nobody who reads can take the slots of the alert rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from schemas.settings import MIB, StoreSettings
from sluiceway.embedded.document import Tree, Value, document
from sluiceway.embedded.limits import reader_constraints, reader_profile

# A person or program with the password of the store's folder; kept over restarts.
WRITER = "sluiceway"
# The pipeline itself; as WRITER, with a password of this start.
PIPELINE = "pipeline"
# Whoever names no user: the gate in front of the engine logs in as this one for them.
READER = "reader"
VIEWER, ALERTS, QUERY = "viewer", "alerts", "query"
READERS = (READER, VIEWER, ALERTS, QUERY)
INTERNAL_USERS = (PIPELINE, *READERS)

LOOPBACK = ("127.0.0.1", "::1")
# Shares of the server's memory when it is short: the query that is furthest over its share is stopped first, so a
# reader's before a rule's, and a rule's before an insert.
_SHARES = {READER: MIB, VIEWER: 16 * MIB, QUERY: 16 * MIB, ALERTS: 256 * MIB}

# What clickhouse-connect, clickhouse-go, the JDBC driver and Grafana's data source read when they connect or complete
# names. ClickHouse shows of tables and columns only those that the user may see.
READABLE_SYSTEM_TABLES = (
    "build_options",
    "columns",
    "data_type_families",
    "databases",
    "functions",
    "one",
    "parts",
    "settings",
    "tables",
    "timezones",
)

WRITER_PROFILE: dict[str, Value] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    # Whatever the engine's default: at 0 a repeated insert doubles the rollups.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # When the server is out of memory it stops the query that exceeds its share most; ours count as 1 GiB each.
    "memory_overcommit_ratio_denominator": 1024 * MIB,
    "memory_overcommit_ratio_denominator_for_user": 1024 * MIB,
}

# The entry of the wheel runs as `default`, which must have no password, and the native port lets anybody try to be it.
# So it can do nothing more: its three statements use up its quota, and no SELECT fits into its syntax trees.
_ENTRY_AST_ELEMENTS = 4
# The longest interval that the engine keeps: its next one begins in 2033.
_ENTRY_INTERVAL_S = 2_000_000_000


def users_xml(
    settings: StoreSettings, writer_secret: str, passwords: Mapping[str, str], *, entry_statements: int
) -> str:
    """Users, profiles and quotas.

    Args:
        settings: limits of those who read, and the database.
        writer_secret: the password of `WRITER`.
        passwords: of `INTERNAL_USERS`.
        entry_statements: how many statements the wheel's entry runs as `default`; 0 for a `clickhouse` binary, which
            needs no such user.
    """
    profiles: dict[str, Tree] = {"default": {}, "writer": WRITER_PROFILE}
    profiles |= {name: reader_tree(settings, name) for name in READERS}
    users: dict[str, Tree] = {
        WRITER: _user("writer", writer_secret),
        PIPELINE: _user("writer", passwords[PIPELINE]),
    }
    users |= {
        name: {**_user(name, passwords[name]), "grants": {"query": reader_grants(settings.database)}}
        for name in READERS
    }
    quotas: dict[str, Tree] = {"default": {}}
    if entry_statements:
        profiles["entry"] = {
            "max_ast_elements": _ENTRY_AST_ELEMENTS,
            "constraints": {"max_ast_elements": {"const": ""}},
        }
        quotas["entry"] = {"interval": {"duration": _ENTRY_INTERVAL_S, "queries": entry_statements}}
        users["default"] = {
            "password": "",
            "networks": {"ip": list(LOOPBACK)},
            "profile": "entry",
            "quota": "entry",
            "grants": {"query": ["GRANT SYSTEM LISTEN ON *.*", "GRANT INSERT ON entry.pipe"]},
        }
    return document({"profiles": profiles, "quotas": quotas, "users": users})


def reader_tree(settings: StoreSettings, name: str) -> dict[str, Value]:
    """The profile of one of `READERS`."""
    share = _SHARES[name]
    return {**reader_profile(settings, share), "constraints": reader_constraints(settings)}


def reader_grants(database: str) -> list[str]:
    """All that a reader may look at."""
    return [
        f"GRANT SELECT, SHOW, dictGet ON {database}.*",
        *(f"GRANT SELECT ON system.{table}" for table in READABLE_SYSTEM_TABLES),
    ]


def _user(profile: str, password: str) -> Mapping[str, Value]:
    return {
        "password_sha256_hex": hashlib.sha256(password.encode()).hexdigest(),
        "networks": {"ip": list(LOOPBACK)},
        "profile": profile,
        "quota": "default",
    }
