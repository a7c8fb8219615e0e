"""config.xml of the store, rendered from settings.

The engine listens on loopback ports of this start and answers 404 to every request without this start's secret. Its own
pages are not served: `/` takes queries, `/ping` says that it lives.
"""

from __future__ import annotations

from schemas.settings import MIB, StoreSettings
from sluiceway.embedded.backend import SECRET_HEADER, Backend
from sluiceway.embedded.document import Tree, document
from sluiceway.embedded.folder import StoreFolder

# One line a query is written at debug, several at trace.
LOG_LEVEL = "information"


def config_xml(folder: StoreFolder, settings: StoreSettings, backend: Backend) -> str:
    """The server's configuration. Sizes are bytes, times seconds."""
    memory = settings.max_memory_bytes
    tree: dict[str, Tree | str | int | float | list[str]] = {
        "listen_host": backend.host,
        "http_port": backend.http_port,
        "http_handlers": {"rule": [_handler("/ping", {"type": "ping"}, backend), _handler("/", QUERIES, backend)]},
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
        # Without it `changeable_in_readonly` has no effect.
        "access_control_improvements": {"settings_constraints_replace_previous": 1},
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
    if backend.native_port is not None:
        tree["tcp_port"] = backend.native_port
    return document(tree)


QUERIES: Tree = {"type": "dynamic_query_handler", "query_param_name": "query"}


def _handler(path: str, handler: Tree, backend: Backend) -> Tree:
    return {"url": path, "headers": {SECRET_HEADER: backend.secret}, "handler": handler}
