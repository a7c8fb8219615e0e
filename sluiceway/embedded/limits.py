"""Limits of those who only read: what one query may take, and the settings that a client may change, within bounds.

`readonly` = 1 refuses every change but of the settings named here, and so a setting that a later engine will have.
would mean unlimited, so the smallest value of a bound is one.
"""

from __future__ import annotations

from schemas.settings import GIB, MIB, StoreSettings

Limits = dict[str, "str | int"]

# A query that asks for no time has this much; Grafana's clients and others ask for what they wait.
_UNASKED_EXECUTION_S = 30


def reader_total_bytes(settings: StoreSettings) -> int:
    """Memory of all queries of one user together, bytes: the rest stays with inserts and merges."""
    return max(settings.reader_max_memory_bytes, settings.max_memory_bytes * 2 // 5)


def _ceilings(settings: StoreSettings) -> dict[str, int]:
    """Values that the user's queries start with, may lower and cannot exceed."""
    return {
        "max_memory_usage": settings.reader_max_memory_bytes,
        "max_memory_usage_for_user": reader_total_bytes(settings),
        "max_threads": settings.reader_max_threads,
        "max_final_threads": settings.reader_max_threads,
        "max_threads_for_indexes": settings.reader_max_threads,
        "max_parsing_threads": settings.reader_max_threads,
        "max_result_rows": 1_000_000,
        "max_result_bytes": 256 * MIB,
    }


# Values that the user's queries have and cannot change; to name the same value is no change.
FIXED: Limits = {
    "max_untracked_memory": 4 * MIB,
    "max_streams_to_max_threads_ratio": 1,
    "max_streams_for_union_step_to_max_threads_ratio": 8,
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
    # Who went away holds no slot.
    "cancel_http_readonly_queries_on_client_close": 1,
    "memory_usage_overcommit_max_wait_microseconds": 200_000,
    # Tried: with a lower priority than inserts, reads under full load took 8 to 50 times as long.
    "priority": 0,
    "use_uncompressed_cache": 0,
    "use_query_cache": 0,
    "use_page_cache_for_local_disks": 0,
    "allow_introspection_functions": 0,
    "allow_ddl": 0,
    "readonly": 1,
    # The engine's own extension: it would look names up among the child's Python objects, and ends the server with
    # signal 11 when it is called over HTTP.
    "allow_python_table_function": 0,
}

# What clients set beside the limits. None of these names a file, a server or a user, and none lifts a limit.
# clickhouse-connect, clickhouse-go, the JDBC driver, Grafana's plugin and HyperDX send some of them with every query.
CHANGEABLE = (
    # the form of the answer
    "date_time_output_format",
    "enable_http_compression",
    "extremes",
    "format_csv_delimiter",
    "format_csv_null_representation",
    "format_tsv_null_representation",
    "http_headers_progress_interval_ms",
    "http_response_buffer_size",
    "http_wait_end_of_query",
    "http_write_exception_in_output_format",
    "http_zlib_compression_level",
    "network_compression_method",
    "network_zstd_compression_level",
    "output_format_arrow_compression_method",
    "output_format_arrow_string_as_string",
    "output_format_binary_write_json_as_string",
    "output_format_decimal_trailing_zeros",
    "output_format_json_named_tuples_as_objects",
    "output_format_json_quote_64bit_floats",
    "output_format_json_quote_64bit_integers",
    "output_format_json_quote_decimals",
    "output_format_json_quote_denormals",
    "output_format_native_encode_types_in_binary_format",
    "output_format_native_use_flattened_dynamic_and_json_serialization",
    "output_format_native_write_json_as_string",
    "output_format_parquet_compression_method",
    "output_format_parquet_string_as_string",
    "output_format_pretty_color",
    "output_format_pretty_max_rows",
    "output_format_write_statistics",
    "send_progress_in_http_headers",
    "session_timezone",
    # how the query is understood
    "allow_experimental_analyzer",
    "cast_string_to_dynamic_use_inference",
    "date_time_input_format",
    "enable_analyzer",
    "final",
    "group_by_use_nulls",
    "join_use_nulls",
    "limit",
    "offset",
    "prefer_column_name_to_alias",
    "transform_null_in",
    "use_skip_indexes",
    # what it may take, downwards; and whether it ends or is cut
    "max_bytes_to_read",
    "max_rows_to_read",
    "optimize_read_in_order",
    "read_overflow_mode",
    "result_overflow_mode",
    "timeout_overflow_mode",
    # of inserts, which no reader makes: old drivers name them with every query
    "async_insert",
    "input_format_binary_read_json_as_string",
    "wait_for_async_insert",
    # words about it
    "log_comment",
)
# Settings that `readonly` = 1 does not hold: the engine makes a statement, or a part of one, out of them. Three stay
# open, since parameters and headers that clients send are made of them: a database and the form of the answer.
UNHELD = ("database", "default_format", "output_format")
_CONSTANT = (
    "compression",
    "filter",
    "format",
    "implicit_table_at_top_level",
    "input_format",
    "order",
    "page",
    "select",
    "sort",
)
_LARGEST_BLOCK_ROWS = 1_000_000


def reader_profile(settings: StoreSettings, share: int) -> Limits:
    """The values that a user's queries start with.

    `share` is the user's part of the server's memory, bytes: when that is short ClickHouse stops the query that is
    furthest over its share.
    """
    return {
        "max_execution_time": min(_UNASKED_EXECUTION_S, settings.reader_max_execution_s),
        "max_concurrent_queries_for_user": settings.reader_queries_at_once,
        "memory_overcommit_ratio_denominator": share,
        "memory_overcommit_ratio_denominator_for_user": share,
        **_ceilings(settings),
        # The engine's own is zstd, which the JDBC driver cannot read.
        "network_compression_method": "LZ4",
        **FIXED,
    }


def reader_constraints(settings: StoreSettings) -> dict[str, dict[str, str | int]]:
    """The settings that a client of the user may change, with the bounds that it cannot pass."""
    tops = _tops(settings)
    named: dict[str, dict[str, str | int]] = {name: {"changeable_in_readonly": ""} for name in CHANGEABLE}
    named |= {name: {"const": ""} for name in _CONSTANT}
    return named | {name: {"changeable_in_readonly": "", "min": 1, "max": top} for name, top in tops.items()}


def _tops(settings: StoreSettings) -> dict[str, int]:
    return {
        "max_execution_time": settings.reader_max_execution_s,
        "max_block_size": _LARGEST_BLOCK_ROWS,
        **_ceilings(settings),
    }


# The names of the limits that a client may lower.
LOWERED = frozenset(_tops(StoreSettings()))
