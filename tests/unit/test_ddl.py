"""The SQL of every table and view as it is sent, and that it follows from one list of columns."""

from __future__ import annotations

import re

import pytest

from dashboards import queries
from schemas.columns import TABLES
from schemas.ddl import DEDUPLICATION_WINDOW, definitions
from schemas.settings import RetentionSettings
from tests.golden import assert_golden

DEFAULT = definitions("otel", RetentionSettings())


def test_the_sql_is_the_golden_file(pytestconfig: pytest.Config) -> None:
    assert_golden(pytestconfig, "schema.sql", ";\n\n".join(definition.create for definition in DEFAULT) + ";\n")


def test_base_tables_have_exactly_the_columns_of_the_list() -> None:
    created = {definition.name: definition.create for definition in DEFAULT}
    for table in TABLES:
        declared = re.findall(r"^    `([^`]+)` (?!.* ALIAS )", created[table.name], re.MULTILINE)
        assert declared == list(table.names)


def test_every_table_that_rows_are_inserted_into_drops_repeated_blocks() -> None:
    for definition in DEFAULT:
        if "ENGINE =" in definition.create:
            assert f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}" in definition.create


def test_retention_is_of_each_signal_with_a_day_of_grace() -> None:
    rendered = definitions(
        "otel", RetentionSettings(traces_days=2, logs_days=3, metrics_days=5, rollups_days=7, hourly_rollups_days=9)
    )
    days = {
        definition.name: int(found[1])
        for definition in rendered
        if (found := re.search(r"toIntervalDay\((\d+)\)", definition.ttl))
    }
    metrics = {table.name: 6 for table in TABLES if table.name.startswith("otel_metrics_")}
    assert days == metrics | {
        "otel_traces": 3,
        "otel_traces_trace_id_ts": 3,
        "otel_logs": 4,
        "spans_1m": 8,
        "spans_1h": 10,
        "services_1m": 8,
        "services_1h": 10,
        "logs_1m": 8,
        "metrics_1d": 10,
        "numbers_1m": 8,
        "numbers_1h": 10,
        "histograms_1m": 8,
        "histograms_1h": 10,
        "exponential_histograms_1m": 8,
        "exponential_histograms_1h": 10,
        "service_edges_1m": 8,
        "service_edges_1h": 10,
        "service_edges_settled": 8,
        "service_addresses": 10,
        "series_admitted": 2,
        "series_overflows": 10,
    }


def test_the_ledger_and_what_says_how_it_came_to_be_never_expire() -> None:
    assert {definition.name for definition in DEFAULT if "ENGINE =" in definition.create and not definition.ttl} == {
        "ledger",
        "redaction_policies",
        "schema_versions",
    }


def test_the_database_is_named_in_every_object_and_nowhere_else() -> None:
    for definition in definitions("other", RetentionSettings()):
        assert f" other.{definition.name}" in definition.create.partition("\n")[0]
        assert "otel." not in definition.create


@pytest.mark.parametrize("view", ["service_red_1m", "service_red_1h", "service_map_1m", "service_map_1h"])
def test_the_quantiles_of_a_view_are_computed_as_the_viewer_computes_them(view: str) -> None:
    def flat(sql: str) -> str:
        return re.sub(r"--.*|\s", "", sql)

    [definition] = [each for each in DEFAULT if each.name == view]
    expression = flat(queries.read("latency_quantile")).removesuffix("ASlatency_quantile")
    assert f"WITH{expression}ASquantile_ns" in flat(definition.create)
