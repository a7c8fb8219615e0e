"""Limits of the read-only user: what one query may take, and the bounds within which a client may change that.

A profile value alone can be lifted with `SET` or `SETTINGS`, so every limit is also a bound. A zero would mean
unlimited, so the smallest value of a bound is one.
"""

from __future__ import annotations

from schemas.settings import GIB, MIB, StoreSettings

Limits = dict[str, "str | int"]

# A browser loads a dashboard six panels at a time, so two people fit. Measured on two cores with twelve endless queries
# of two threads: 200,000-row inserts went from 0.1 s to 1.7 s each, and none failed.
QUERIES_AT_ONCE = 12


def reader_total_bytes(settings: StoreSettings) -> int:
    """Memory of all queries of the user together, bytes: the rest stays with inserts and merges."""
    return max(settings.reader_max_memory_bytes, settings.max_memory_bytes * 2 // 5)


def _ceilings(settings: StoreSettings) -> dict[str, int]:
    """Values that the user's queries start with, may lower and cannot exceed."""
    return {
        "max_execution_time": settings.reader_max_execution_s,
        "max_memory_usage": settings.reader_max_memory_bytes,
        "max_memory_usage_for_user": reader_total_bytes(settings),
        "max_untracked_memory": 4 * MIB,
        "max_threads": settings.reader_max_threads,
        "max_final_threads": settings.reader_max_threads,
        "max_threads_for_indexes": settings.reader_max_threads,
        "max_parsing_threads": settings.reader_max_threads,
        "max_streams_to_max_threads_ratio": 1,
        "max_streams_for_union_step_to_max_threads_ratio": 8,
        "max_concurrent_queries_for_user": QUERIES_AT_ONCE,
        "max_result_rows": 1_000_000,
        "max_result_bytes": 256 * MIB,
        "max_temporary_data_on_disk_size_for_user": GIB,
        "max_temporary_data_on_disk_size_for_query": GIB,
        "max_query_size": 256 * 1024,
        "max_parser_depth": 1000,
        "max_parser_backtracks": 1_000_000,
        "max_ast_depth": 1000,
        "max_ast_elements": 50_000,
        "max_expanded_ast_elements": 500_000,
        "max_subquery_depth": 100,
        "max_recursive_cte_evaluation_depth": 1000,
        "http_send_timeout": 30,
        "http_receive_timeout": 30,
    }


# Values that the user's queries have and cannot change.
FIXED: Limits = {
    # When the server is out of memory ClickHouse stops the query that is furthest over its share: the user's, not an
    # insert of ours, whose share is a thousand times as large.
    "memory_overcommit_ratio_denominator": MIB,
    "memory_overcommit_ratio_denominator_for_user": MIB,
    "memory_usage_overcommit_max_wait_microseconds": 200_000,
    # The entry itself runs as this user: a nice value would spread from it to the threads of every insert.
    "os_threads_nice_value_query": 0,
    # Tried: with a lower priority than inserts, reads under full load took 8 to 50 times as long.
    "priority": 0,
    "use_uncompressed_cache": 0,
    "use_query_cache": 0,
    "use_page_cache_for_local_disks": 0,
    "allow_introspection_functions": 0,
    # The engine's own extension: it would look names up among the child's Python objects, and ends the server with
    # signal 11 when it is called over HTTP.
    "allow_python_table_function": 0,
}


def reader_profile(settings: StoreSettings, *, read_only: bool) -> Limits:
    """The values that the user's queries start with."""
    limits: Limits = {**_ceilings(settings), **FIXED, "allow_ddl": 0}
    if read_only:
        limits["readonly"] = 2
    return limits


def reader_constraints(settings: StoreSettings) -> dict[str, dict[str, str | int]]:
    """Bounds that no client of the user can pass."""
    bounds: dict[str, dict[str, str | int]] = {
        name: {"min": 1, "max": top} for name, top in _ceilings(settings).items()
    }
    return bounds | {name: {"min": value, "max": value} for name, value in FIXED.items()}
