"""Every query of every generated dashboard, on the demo's data, as the read-only user that Grafana logs in as."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.query import QueryResult
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from dashboards.alerts.rule import Rule
from dashboards.alerts.rules import RULES
from dashboards.boards.file import read as read_file
from dashboards.definitions.inventory import inventories
from dashboards.definitions.of_service import board as board_of
from dashboards.files import boards
from dashboards.grafana.macros import Range, expand
from dashboards.slo.files import read
from dashboards.slo.rules import burn_rules
from tests.running_pipeline import Pipeline, demo_done

DEMO_S = 25
OBJECTIVES = read(Path(__file__).resolve().parents[2] / "slos")
BOARDS = boards(OBJECTIVES)
READ_ROWS_AT_MOST = 1_000_000
# Nothing of the kind happens in a demo that goes well.
EMPTY = {
    ("sluiceway-pipeline", "Refused"),
    ("sluiceway-pipeline", "Retries"),
    ("sluiceway-fleet", "Deployments"),
    ("sluiceway-service", "Deployments"),
}
RUNTIME_SERVICE = "host of tests"
LEVELS = ["process.cpu.utilization", "process.memory.usage", "system.cpu.utilization", "system.memory.utilization",
          "jvm.memory.used", "jvm.thread.count"]  # fmt: skip
SERVICES = ("sluiceway-fleet", "Services", "table")
METRIC_OF = {
    "Rate": "Kind = 'sum'",
    "Value": "Kind = 'gauge'",
    "Percentiles": "Kind = 'histogram'",
    "Percentiles (exponential)": "Kind = 'exponential_histogram'",
}


@dataclass(frozen=True)
class Asked:
    """One query of a dashboard: of a panel, a variable or an annotation."""

    board: str
    kind: str
    title: str
    ref: str
    sql: str


def asked() -> Iterator[Asked]:
    for board in BOARDS:
        file = json.loads(board.json())
        for panel in file["panels"]:
            for target in panel["targets"]:
                yield Asked(board.uid, panel["type"], panel["title"], target["refId"], target["rawSql"])
        for variable in file["templating"]["list"]:
            if variable["type"] == "query":
                yield Asked(board.uid, "variable", variable["name"], "", variable["query"]["rawSql"])
        for annotation in file["annotations"].get("list", []):
            yield Asked(board.uid, "annotation", annotation["name"], "", annotation["target"]["rawSql"])


ALL = list(asked())


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with demo_done(tmp_path_factory.mktemp("dashboards"), DEMO_S, telemetry=True) as running:
        # Edges settle some seconds after their spans, our own metrics come every few.
        deadline_s = time.monotonic() + 120
        edges = "SELECT count() FROM service_edges_1m"
        ours = "SELECT uniqExact(MetricName) FROM numbers_1m WHERE ServiceName = 'sluiceway'"
        while not running.ask(edges)[0][0] or running.ask(ours)[0][0] < 10:
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        send_runtime_metrics(running)
        yield running


def send_runtime_metrics(pipeline: Pipeline) -> None:
    """What semantic conventions name of process, host and runtime, from a real SDK, twice some seconds apart."""
    exporter = OTLPMetricExporter(endpoint=f"{pipeline.otlp_http}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    provider = MeterProvider([reader], resource=Resource.create({"service.name": RUNTIME_SERVICE, "host.name": "h-1"}))
    meter = provider.get_meter("runtime")
    counters = [meter.create_counter(name) for name in ("process.cpu.time", "system.network.io", "system.disk.io")]
    levels = [meter.create_gauge(name) for name in LEVELS]
    pauses = meter.create_histogram("jvm.gc.duration", unit="s", explicit_bucket_boundaries_advisory=[0.01, 0.1, 1])
    for _ in range(2):
        for number, level in enumerate(levels, 1):
            level.set(number / 10, {"system.device": "d"})
        for counter in counters:
            counter.add(100, {"network.io.direction": "receive"})
        pauses.record(0.05)
        assert provider.force_flush()
    provider.shutdown()
    ours = f"SELECT uniqExact(MetricName) FROM metrics_1d WHERE ServiceName = '{RUNTIME_SERVICE}'"
    deadline_s = time.monotonic() + 60
    while pipeline.ask(ours)[0][0] < len(LEVELS) + len(counters) + 1:
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


@pytest.fixture(scope="module")
def over(pipeline: Pipeline) -> Range:
    """The demo's time, and a value of every variable."""
    [(trace,)] = pipeline.ask("SELECT TraceId FROM otel_traces WHERE ServiceName = 'checkout' LIMIT 1")
    variables = {"service": "checkout", "environment": "", "trace": trace, "search": "", "metric": ""}
    return Range(pipeline.from_ms // 1000, int(time.time()) // 60 * 60 + 60, 60, variables)


def with_metric(pipeline: Pipeline, over: Range, each: Asked) -> Range:
    """A metric of the kind that a panel is for, and a service that sends it."""
    if each.board == "sluiceway-runtime":
        return replace(over, variables={**over.variables, "service": RUNTIME_SERVICE})
    if each.board != "sluiceway-metrics" or each.title not in METRIC_OF:
        return over
    [(service, metric)] = pipeline.ask(
        f"SELECT ServiceName, MetricName FROM metrics_1d WHERE {METRIC_OF[each.title]} AND TenantId = ''"
        " GROUP BY ALL ORDER BY sum(Points) DESC LIMIT 1"
    )
    return replace(over, variables={**over.variables, "service": service, "metric": metric})


def run(pipeline: Pipeline, each: Asked, over: Range) -> QueryResult:
    return pipeline.store.query(expand(each.sql, over))


@pytest.mark.parametrize("each", ALL, ids=lambda each: f"{each.board}-{each.kind}-{each.title}-{each.ref}")
def test_a_query_answers_with_the_frame_of_its_panel(pipeline: Pipeline, over: Range, each: Asked) -> None:
    over = with_metric(pipeline, over, each)
    found = run(pipeline, each, over)
    if not found.result_rows:
        # Without a row an answer has no columns either.
        assert (each.board, each.title) in EMPTY
        return
    assert int(found.summary["read_rows"]) <= READ_ROWS_AT_MOST
    FRAMES[each.kind](each, found)


@pytest.mark.parametrize("each", ALL, ids=lambda each: f"{each.board}-{each.kind}-{each.title}-{each.ref}")
def test_a_query_looks_at_the_time_range_only(pipeline: Pipeline, over: Range, each: Asked) -> None:
    over = with_metric(pipeline, over, each)
    before = replace(over, from_s=1_000_000_000, to_s=1_000_003_600)
    if each.title == "Trace":
        # A trace is where its id says, whatever the range is.
        assert run(pipeline, each, before).result_rows == run(pipeline, each, over).result_rows
        return
    found = run(pipeline, each, before)
    if each.title == "Error budgets":
        # An objective without calls is listed all the same.
        assert {(row["Calls"], row["BudgetLeft"]) for row in found.named_results()} == {(0, None)}
        return
    assert [row for row in found.result_rows if any(row)] == [] if each.kind == "stat" else not found.result_rows


def test_every_service_has_a_dashboard_of_what_it_sends(pipeline: Pipeline, over: Range) -> None:
    def ask(sql: str, parameters: Mapping[str, Any]) -> Any:
        return pipeline.store.query(sql, parameters=dict(parameters)).named_results()

    found = {each.service: each for each in inventories(ask, int(time.time()))}
    assert {"checkout", "payment", "cart", "email"} <= set(found)
    for service in ("checkout", "payment", "cart"):
        inventory = found[service]
        [(databases,)] = pipeline.ask(
            f"SELECT countIf(SpanAttributes['db.system.name'] != '') FROM otel_traces WHERE ServiceName = '{service}'"
        )
        drawn = read_file(board_of(inventory).json())
        assert ("Databases" in [panel.title for panel in drawn.panels]) == (databases > 0)
        fixed = {each.name: each.fixed or "" for each in drawn.variables}
        for panel in drawn.panels:
            for sql in panel.queries.values():
                answer = pipeline.store.query(expand(sql, replace(over, variables=fixed)))
                # Not every service warns in a short demo.
                assert answer.result_rows or panel.title == "Warnings and errors", (service, panel.title)


def test_ids_titles_and_places_of_panels_are_whole() -> None:
    for board in BOARDS:
        file = json.loads(board.json())
        panels = file["panels"]
        assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
        cells = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        for panel in panels:
            assert panel["title"]
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
        assert file["uid"] == board.uid
        assert not file["editable"]


def test_links_lead_to_dashboards_and_variables_that_exist() -> None:
    files = {board.uid: json.loads(board.json()) for board in BOARDS}
    variables = {uid: {each["name"] for each in file["templating"]["list"]} for uid, file in files.items()}
    links = [
        link["url"]
        for file in files.values()
        for panel in file["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", [])
        for each in override["properties"]
        if each["id"] == "links"
        for link in each["value"]
    ]
    assert len(links) >= 7
    for url in links:
        path, _, query = url.partition("?")
        uid = path.removeprefix("/d/")
        assert uid in files
        for part in query.split("&"):
            if part.startswith("var-"):
                assert part.removeprefix("var-").partition("=")[0] in variables[uid]


def kinds(found: QueryResult) -> list[str]:
    return [
        "time" if "Date" in name else "text" if "String" in name else "number"
        for name in (column.name for column in found.column_types)
    ]


def time_series(_: Asked, found: QueryResult) -> None:
    assert found.column_names[0] == "time"
    of = kinds(found)
    assert of[0] == "time"
    assert of.count("text") <= 1
    assert of[1:].count("number") >= 1
    assert len(of) == 1 + of.count("text") + of.count("number")
    times = [row[0] for row in found.result_rows]
    assert times == sorted(times)


def stat(_: Asked, found: QueryResult) -> None:
    assert kinds(found) == ["number"]
    assert len(found.result_rows) == 1


def heat(_: Asked, found: QueryResult) -> None:
    assert found.column_names[0] == "time"
    assert kinds(found) == ["time", "text", "number"]
    assert all(float(row[1]) > 0 and row[2] > 0 for row in found.result_rows)


def log_records(_: Asked, found: QueryResult) -> None:
    assert found.column_names[:2] == ("timestamp", "body")
    assert {"level", "traceID"} <= set(found.column_names)


def trace(_: Asked, found: QueryResult) -> None:
    needed = {"traceID", "spanID", "parentSpanID", "operationName", "serviceName", "startTime", "duration", "tags"}
    assert needed <= set(found.column_names)
    rows = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
    ids = {row["spanID"] for row in rows}
    assert len(ids) == len(rows)
    assert sum(row["parentSpanID"] not in ids for row in rows) == 1
    assert all(set(tag) == {"key", "value"} for row in rows for tag in row["tags"])
    assert all(row["startTime"] > 1e12 for row in rows)


def graph(each: Asked, found: QueryResult) -> None:
    if each.ref == "edges":
        assert {"id", "source", "target"} <= set(found.column_names)
    else:
        assert "source" not in found.column_names
        rows = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
        assert all(abs(row["arc__ok"] + row["arc__failed"] - 1) < 1e-9 for row in rows)


def table(_: Asked, found: QueryResult) -> None:
    assert len(set(found.column_names)) == len(found.column_names)


def variable(_: Asked, found: QueryResult) -> None:
    assert kinds(found) in (["text"], ["text", "text"])


def annotation(_: Asked, found: QueryResult) -> None:
    assert found.column_names == ("time", "title", "text", "tags")


FRAMES: Mapping[str, Any] = {
    "timeseries": time_series,
    "stat": stat,
    "heatmap": heat,
    "logs": log_records,
    "traces": trace,
    "nodeGraph": graph,
    "table": table,
    "variable": variable,
    "annotation": annotation,
}


def test_the_graph_is_whole(pipeline: Pipeline, over: Range) -> None:
    of = {each.ref: run(pipeline, each, over) for each in ALL if each.kind == "nodeGraph"}
    ids = set(of["nodes"].result_columns[0])
    edges = [dict(zip(of["edges"].column_names, row, strict=True)) for row in of["edges"].result_rows]
    assert {edge["source"] for edge in edges} | {edge["target"] for edge in edges} == ids
    assert len(edges) == len({edge["id"] for edge in edges})


def test_figures_agree_with_the_rows(pipeline: Pipeline, over: Range) -> None:
    """What a panel shows is what base rows say."""
    [services] = [each for each in ALL if (each.board, each.title, each.kind) == SERVICES]
    shown = {row[0]: row[1:3] for row in run(pipeline, services, over).result_rows}
    seconds = over.to_s - over.from_s
    for service, calls, errors in pipeline.ask(
        "SELECT ServiceName, countIf(SpanKind IN ('Server', 'Consumer')) AS calls,"
        " countIf(SpanKind IN ('Server', 'Consumer') AND StatusCode = 'Error') FROM otel_traces"
        f" WHERE Timestamp >= toDateTime64({over.from_s}, 9) GROUP BY ServiceName HAVING calls > 0"
    ):
        rate, share = shown[service]
        assert rate * seconds == pytest.approx(calls)
        assert share == pytest.approx(errors / calls)


@pytest.mark.parametrize("rule", [*RULES, *burn_rules(OBJECTIVES)], ids=lambda rule: rule.name)
def test_the_query_of_an_alert_answers_with_labels_and_one_number(pipeline: Pipeline, rule: Rule) -> None:
    now_s = int(time.time())
    sql = expand(rule.query, Range(now_s - rule.range_s, now_s), in_alert=True)
    found = pipeline.store.query(sql)
    assert int(found.summary["read_rows"]) <= READ_ROWS_AT_MOST
    if not found.result_rows:
        # Needs an hour, weeks, a deployment, a refusal or a folded point.
        assert rule.name in {
            "service-silent", "rate-anomaly", "latency-anomaly", "deployment-regression", "deployment-slower",
            "pipeline-refusing", "saturation",
        }  # fmt: skip
        return
    assert kinds(found).count("number") == 1
    assert kinds(found).count("time") == 0
    assert found.column_names[-1] == "value"
    fields = {name for name in re.findall(r"{(\w+)}", rule.summary) if name != "value"}
    assert fields <= set(found.column_names)
    labels = [row[:-1] for row in found.result_rows]
    assert len(set(labels)) == len(labels)
    fired = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows if row[-1] > rule.above]
    if rule.owner == "service":
        # The demo's bad release is payment's, and fails those who call it.
        assert {row["service"] for row in fired} <= {"payment", "checkout", "frontend"}
        return
    # A pipeline that is well pages nobody.
    assert fired == []


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.trace_query or rule.culprit_query], ids=lambda rule: rule.name
)
def test_what_an_alert_is_explained_by_is_one_text_at_most(pipeline: Pipeline, over: Range, rule: Rule) -> None:
    names = ["service", "environment", "version", "previous", "dependency", "indicator"]
    # A name that is neither SQL nor a macro, and a service that is there.
    for value in ("payment", "it's $__timeFilter(x) ${service} \\"):
        variables = dict.fromkeys(names, value)
        for sql in filter(None, (rule.trace_query, rule.culprit_query)):
            found = pipeline.ask(expand(sql, replace(over, variables=variables)))
            assert len(found) <= 1
            assert all(isinstance(row[0], str) for row in found)
