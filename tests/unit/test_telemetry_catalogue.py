"""The catalogue of our own metrics holds the code and the documentation to itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from schemas.errors import ConfigurationError
from schemas.telemetry import CATALOGUE, LABELS, Kind, counter, histogram, observe

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("ingest", "processors", "dashboards", "sluiceway")
_UNITS = {"By": "_bytes", "s": "_seconds"}
_NAME = re.compile(r"sluiceway_(ingest|log|processor|store|viewer|alerts|runtime|telemetry)_[a-z][a-z_]*[a-z]")


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            if "demo" not in path.relative_to(_ROOT).parts:
                yield path, ast.parse(path.read_text(encoding="utf-8"))


def _names_in_code() -> set[str]:
    return {
        node.value
        for _, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value)
    }


def test_names_say_stage_and_unit_and_whether_they_only_grow() -> None:
    for spec in CATALOGUE.values():
        assert _NAME.fullmatch(spec.name), spec.name
        grows = spec.kind in {Kind.COUNTER, Kind.OBSERVED_COUNTER}
        assert spec.name.endswith("_total") == grows, spec.name
        if spec.unit in _UNITS:
            assert spec.name.removesuffix("_total").endswith(_UNITS[spec.unit]), spec.name
        else:
            assert re.fullmatch(r"\{[a-z ]+\}", spec.unit), spec.name


def test_labels_are_known_and_never_a_tenant() -> None:
    assert {label for spec in CATALOGUE.values() for label in spec.labels} <= set(LABELS)
    assert "tenant" not in LABELS


def test_histograms_have_bounds_that_rise_and_nothing_else_has() -> None:
    for spec in CATALOGUE.values():
        assert bool(spec.bounds) == (spec.kind is Kind.HISTOGRAM), spec.name
        assert list(spec.bounds) == sorted(set(spec.bounds)), spec.name


def test_every_name_in_the_code_is_in_the_catalogue() -> None:
    assert _names_in_code() - set(CATALOGUE) == set()


def test_every_metric_of_the_catalogue_is_recorded_somewhere() -> None:
    assert set(CATALOGUE) - _names_in_code() == set()


def test_no_package_makes_an_instrument_without_the_catalogue() -> None:
    made = [
        f"{path.relative_to(_ROOT)}:{node.lineno}"
        for path, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"create_(observable_)?(counter|up_down_counter|histogram|gauge)", node.attr)
    ]
    assert made == []


def test_every_metric_and_label_is_documented_with_kind_unit_and_labels() -> None:
    text = (_ROOT / "docs" / "self-telemetry.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")
    ]
    documented = {row[0].strip("`"): row[1:] for row in rows}
    expected = {
        spec.name: [spec.kind.value, spec.unit, ", ".join(spec.labels), spec.meaning] for spec in CATALOGUE.values()
    } | {label: [meaning] for label, meaning in LABELS.items()}
    assert documented == expected


def test_a_name_outside_the_catalogue_is_refused() -> None:
    meter = MeterProvider(shutdown_on_exit=False).get_meter("test")
    with pytest.raises(
        ConfigurationError, match=r"must be listed in schemas/telemetry\.py, received 'sluiceway_nothing'"
    ):
        counter("sluiceway_nothing", meter)
    with pytest.raises(ConfigurationError, match="must be a counter here, listed as histogram"):
        counter("sluiceway_ingest_request_duration_seconds", meter)
    with pytest.raises(ConfigurationError, match="must be a histogram here, listed as observed gauge"):
        histogram("sluiceway_log_size_bytes", meter)


def test_instruments_carry_the_catalogue_s_unit_meaning_and_bounds() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    counter("sluiceway_store_inserted_rows_total", meter).add(3, {"table": "otel_traces"})
    histogram("sluiceway_store_insert_duration_seconds", meter).record(0.2, {"table": "otel_traces"})
    observe("sluiceway_log_size_bytes", lambda: [(7, {})], meter)
    collected = reader.get_metrics_data()
    assert collected
    found = {metric.name: metric for metric in collected.resource_metrics[0].scope_metrics[0].metrics}
    for name, metric in found.items():
        assert (metric.unit, metric.description) == (CATALOGUE[name].unit, CATALOGUE[name].meaning)
    duration = found["sluiceway_store_insert_duration_seconds"].data.data_points[0]
    assert tuple(duration.explicit_bounds) == CATALOGUE["sluiceway_store_insert_duration_seconds"].bounds
    assert found["sluiceway_log_size_bytes"].data.data_points[0].value == 7
