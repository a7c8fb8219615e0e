"""Limits of the read-only user: what one query may take, and the bounds within which a client may change that.

A profile value alone can be lifted with `SET` or `SETTINGS`, so every limit is also a bound.
"""

from __future__ import annotations

from schemas.settings import GIB, MIB, StoreSettings

Limits = dict[str, "str | int"]


def reader_profile(settings: StoreSettings, *, read_only: bool) -> Limits:
    """The values that the user's queries start with."""
    limits: Limits = {
        "max_execution_time": settings.reader_max_execution_s,
        "max_memory_usage": settings.reader_max_memory_bytes,
        # All of the user's queries together leave the rest of the server's memory to inserts and merges.
        "max_memory_usage_for_user": reader_total_bytes(settings),
        "max_threads": settings.reader_max_threads,
        "max_concurrent_queries_for_user": 24,
        "max_result_rows": 1_000_000,
        "max_result_bytes": 256 * MIB,
        "max_temporary_data_on_disk_size_for_user": GIB,
        # The reader's queries are the first that ClickHouse stops when the server is out of memory.
        "memory_overcommit_ratio_denominator": MIB,
        "memory_overcommit_ratio_denominator_for_user": MIB,
        "memory_usage_overcommit_max_wait_microseconds": 200_000,
        "cancel_http_readonly_queries_on_client_close": 1,
        "use_uncompressed_cache": 0,
        "allow_ddl": 0,
    }
    if read_only:
        limits["readonly"] = 2
    return limits


def reader_total_bytes(settings: StoreSettings) -> int:
    """Memory of all queries of the user together, bytes."""
    return max(settings.reader_max_memory_bytes, settings.max_memory_bytes * 2 // 5)


def reader_constraints(settings: StoreSettings) -> dict[str, dict[str, str | int]]:
    """Bounds that no client of the user can pass; a zero would mean unlimited, so the smallest value is one."""
    return {
        "max_execution_time": {"min": 1, "max": settings.reader_max_execution_s},
        "max_memory_usage": {"min": 1, "max": settings.reader_max_memory_bytes},
        "max_threads": {"min": 1, "max": settings.reader_max_threads},
    }
