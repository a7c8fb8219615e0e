"""config.xml and users.xml of the store, rendered from settings.

The reader is ClickHouse's `default` user: people and Grafana connect as it without a password, from this machine only.
What it may do is fixed by grants and its limits by constraints. The wheel's entry also runs as `default`; so there it
carries the right to start listening, which `readonly` would take away again, and grants alone keep it from writing.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import TypeAlias

from schemas.settings import MIB, StoreSettings
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.limits import reader_constraints, reader_profile

WRITER = "sluiceway"
# One line a query is written at debug, several at trace.
LOG_LEVEL = "information"
LOOPBACK = ("127.0.0.1", "::1")

Tree: TypeAlias = "Mapping[str, Tree | str | int | float | list[str]]"


def config_xml(folder: StoreFolder, settings: StoreSettings) -> str:
    """The server's configuration. Sizes are bytes, times seconds."""
    memory = settings.max_memory_bytes
    tree: dict[str, Tree | str | int | float | list[str]] = {
        "listen_host": settings.host,
        "http_port": settings.http_port,
        "path": f"{folder.data}/",
        "tmp_path": f"{folder.data}/tmp/",  # noqa: S108
        "user_files_path": f"{folder.data}/user_files/",
        "users_config": str(folder.server / "users.xml"),
        "timezone": "UTC",
        # The wheel's entry overwrites logger.level with this one.
        "log-level": LOG_LEVEL,
        "logger": {
            "level": LOG_LEVEL,
            "log": str(folder.logs / "store.log"),
            "errorlog": str(folder.logs / "store.errors.log"),
            "size": 10 * MIB,
            "count": 3,
            "console": 0,
            # Its two threads wake all the time, which was half of what an idle store used.
            "async": 0,
        },
        "max_server_memory_usage": memory,
        "max_server_memory_usage_to_ram_ratio": 0.9,
        "merges_mutations_memory_usage_soft_limit": memory // 2,
        "mark_cache_size": 32 * MIB,
        "uncompressed_cache_size": 0,
        "index_mark_cache_size": 8 * MIB,
        "index_uncompressed_cache_size": 0,
        "compiled_expression_cache_size": 16 * MIB,
        "mmap_cache_size": 64,
        "query_cache": {"max_size_in_bytes": 0},
        "max_temporary_data_on_disk_size": 2048 * MIB,
        # The merges' pool is the store's only standing consumer of CPU: two threads leave the insert a core of two.
        # No more than two merges at a time either: with four the store held up to 714 MB at full load, with two 676 MB.
        "background_pool_size": 2,
        "background_merges_mutations_concurrency_ratio": 1,
        "background_common_pool_size": 2,
        "background_move_pool_size": 1,
        "background_fetches_pool_size": 1,
        "background_buffer_flush_schedule_pool_size": 1,
        "background_message_broker_schedule_pool_size": 1,
        "background_distributed_schedule_pool_size": 1,
        "background_schedule_pool_size": 4,
        "concurrent_threads_soft_limit_ratio_to_cores": 2,
        "max_connections": 256,
        "max_concurrent_queries": 64,
        # An insert never waits for a select's slot.
        "max_concurrent_select_queries": 48,
        "keep_alive_timeout": 30,
        # An idle store looks at itself less often than every 50 ms and every second.
        "memory_worker_period_ms": 250,
        "asynchronous_metrics_update_period_s": 30,
        "asynchronous_heavy_metrics_update_period_s": 300,
        "enable_webterminal": 0,
        "merge_tree": {
            # An acknowledged insert survives a lost power supply, not only a killed process.
            "fsync_after_insert": 1,
            "fsync_part_directory": 1,
            # These three are refused when they are over pool size times ratio.
            "number_of_free_entries_in_pool_to_lower_max_size_of_merge": 2,
            "number_of_free_entries_in_pool_to_execute_mutation": 2,
            "number_of_free_entries_in_pool_to_execute_optimize_entire_partition": 2,
        },
    }
    if settings.native_port is not None:
        tree["tcp_port"] = settings.native_port
    return document(tree)


def users_xml(settings: StoreSettings, writer_secret: str, *, entry_runs_as_default: bool) -> str:
    """Users, profiles and quotas. `entry_runs_as_default` is true for the wheel, false for a `clickhouse` binary."""
    database = settings.database
    grants = [
        f"GRANT SELECT, SHOW, dictGet ON {database}.*",
        *(f"GRANT SELECT ON system.{table}" for table in READABLE_SYSTEM_TABLES),
    ]
    if entry_runs_as_default:
        grants += ["GRANT SYSTEM LISTEN ON *.*", "GRANT INSERT ON entry.pipe"]
    tree: dict[str, Tree | str | int | float | list[str]] = {
        "profiles": {
            "default": {},
            "reader": {
                **reader_profile(settings, read_only=not entry_runs_as_default),
                "constraints": reader_constraints(settings),
            },
            "writer": WRITER_PROFILE,
        },
        "quotas": {"default": {}},
        "users": {
            "default": {
                "password": "",
                "networks": {"ip": list(LOOPBACK)},
                "profile": "reader",
                "quota": "default",
                "grants": {"query": grants},
            },
            WRITER: {
                "password_sha256_hex": hashlib.sha256(writer_secret.encode()).hexdigest(),
                "networks": {"ip": list(LOOPBACK)},
                "profile": "writer",
                "quota": "default",
            },
        },
    }
    return document(tree)


# What clickhouse-connect, clickhouse-go and Grafana's data source read when they connect or complete names; ClickHouse
# shows of tables and columns only those that the user may see.
READABLE_SYSTEM_TABLES = (
    "asynchronous_metrics",
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

WRITER_PROFILE: dict[str, Tree | str | int | float | list[str]] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    # Whatever the engine's default: at 0 a repeated insert doubles the rollups.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # When the server is out of memory it stops the query that exceeds its share most; ours count as 1 GiB each.
    "memory_overcommit_ratio_denominator": 1024 * MIB,
    "memory_overcommit_ratio_denominator_for_user": 1024 * MIB,
}


def document(tree: Tree) -> str:
    """The tree as ClickHouse reads it; a name that begins with @ is an attribute."""
    root = ET.Element("clickhouse")
    _append(root, tree)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _append(parent: ET.Element, tree: Tree) -> None:
    for name, value in tree.items():
        if name.startswith("@"):
            parent.set(name[1:], str(value))
        elif isinstance(value, list):
            for item in value:
                ET.SubElement(parent, name).text = item
        elif isinstance(value, Mapping):
            _append(ET.SubElement(parent, name), value)
        else:
            ET.SubElement(parent, name).text = str(value)
