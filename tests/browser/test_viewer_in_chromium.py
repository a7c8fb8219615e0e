"""Every page of the viewer in a real browser, after a real demo: its figures against SQL over the base tables."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from dashboards.viewer.figures import share
from tests.browser.conftest import Pipeline

# The first test waits for the pipeline, a decoder that may have to be compiled, and the demo.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

IN_WINDOW = (
    "Timestamp >= fromUnixTimestamp64Milli({from_ms:Int64}) AND Timestamp < fromUnixTimestamp64Milli({to_ms:Int64})"
)
ENTRY = "SpanKind IN ('Server', 'Consumer')"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE_PATHS = [
    "/", "/service/payment", "/pipeline", "/alerts", "/trace", "/service/unknown", "/boards",
    "/d/sluiceway-fleet", "/d/sluiceway-service", "/d/sluiceway-service-map", "/d/sluiceway-logs",
]  # fmt: skip
_NS = {"ns": 1.0, "µs": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9}


def asked(pipeline: Pipeline, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return pipeline.ask(sql, from_ms=pipeline.from_ms, to_ms=pipeline.to_ms, **parameters)


def open_page(page: Page, pipeline: Pipeline, path: str) -> None:
    page.goto(pipeline.viewer + path)
    page.wait_for_selector("body[data-ready]")


def text(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


def nanoseconds(shown: str) -> float:
    number, unit = shown.split()
    return float(number.replace(",", "")) * _NS[unit]


def test_every_service_shows_the_calls_errors_and_latency_that_its_spans_have(page: Page, pipeline: Pipeline) -> None:
    wanted = asked(
        pipeline,
        "SELECT ServiceName, count() AS calls, countIf(StatusCode = 'Error') / calls, "
        "arraySort(groupArray(Duration)) AS durations, durations[toUInt32(ceil(0.5 * calls))], "
        f"durations[toUInt32(ceil(0.95 * calls))] FROM otel_traces WHERE {IN_WINDOW} AND {ENTRY} GROUP BY ServiceName",
    )
    assert len(wanted) == 8
    open_page(page, pipeline, f"/?{pipeline.window}")
    assert page.locator("tr[data-service]").count() == 8
    for name, calls, errors, _, p50, p95 in wanted:
        row = f'tr[data-service="{name}"]'
        calls_shown, errors_shown, p50_shown, p95_shown = (
            text(page, f'{row} [data-figure="{key}"]') for key in ("calls", "errors", "p50", "p95")
        )
        assert calls_shown == f"{calls:,}"
        assert errors_shown == share(errors)
        # The rollup's buckets are within 4.5 %, and three digits are shown.
        assert nanoseconds(p50_shown) == pytest.approx(p50, rel=0.05)
        assert nanoseconds(p95_shown) == pytest.approx(p95, rel=0.05)


def test_a_service_is_called_what_its_recent_failures_make_it_and_its_releases_are_named(
    page: Page, pipeline: Pipeline
) -> None:
    """How many payments the bad release fails in a short demo is up to chance; what the page calls it is not."""
    recent = asked(
        pipeline,
        "SELECT ServiceName, countIf(StatusCode = 'Error') / count() FROM otel_traces "
        "WHERE toUnixTimestamp64Milli(Timestamp) BETWEEN {to_ms:Int64} - 300000 AND {to_ms:Int64} - 1 "
        f"AND {ENTRY} GROUP BY ServiceName",
    )
    open_page(page, pipeline, f"/?{pipeline.window}")
    for name, errors in recent:
        state = text(page, f'tr[data-service="{name}"] .state')
        assert (state == "✖ Failing") == (errors >= 0.05), name
        assert (name in text(page, ".verdict")) == (errors >= 0.05), name
    page.get_by_role("rowheader").get_by_role("link", name="payment").click()
    page.wait_for_selector("body[data-ready]")
    expect(page.get_by_role("heading", level=1)).to_contain_text("payment")
    versions = asked(
        pipeline,
        "SELECT ServiceVersion, countIf(StatusCode = 'Error') / count() FROM otel_traces "
        f"WHERE ServiceName = 'payment' AND {IN_WINDOW} AND {ENTRY} GROUP BY ServiceVersion",
    )
    assert "1.4.2" in dict(versions)
    for version, errors in versions:
        assert text(page, f'tr[data-version="{version}"] [data-figure="errors"]') == share(errors)


def test_a_service_page_shows_its_operations_and_draws_its_charts(page: Page, pipeline: Pipeline) -> None:
    open_page(page, pipeline, f"/service/frontend?{pipeline.window}")
    wanted = asked(
        pipeline,
        "SELECT SpanName, SpanKind, count(), countIf(StatusCode = 'Error') / count() FROM otel_traces "
        f"WHERE ServiceName = 'frontend' AND {IN_WINDOW} GROUP BY SpanName, SpanKind",
    )
    assert len(wanted) > 1
    for name, kind, calls, errors in wanted:
        row = f'tr[data-operation="{name}"][data-kind="{kind}"]'
        assert text(page, f'{row} [data-figure="calls"]') == f"{calls:,}"
        assert text(page, f'{row} [data-figure="errors"]') == share(errors)
    drawn = page.locator("figure[data-chart]")
    assert [drawn.nth(n).get_attribute("data-chart") for n in range(drawn.count())] == ["rate", "errors", "latency"]
    for n in range(3):
        expect(drawn.nth(n).locator("canvas")).to_be_visible()
        # A canvas on which nothing was drawn is of one colour.
        colours = (
            drawn.nth(n)
            .locator("canvas")
            .evaluate(
                "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
                ".getImageData(0, 0, canvas.width, canvas.height)"
                ".data.buffer)).size"
            )
        )
        assert colours > 3


def test_a_chart_says_its_figures_as_text_and_as_a_table(page: Page, pipeline: Pipeline) -> None:
    open_page(page, pipeline, f"/service/frontend?{pipeline.window}")
    label = page.locator("#chart-latency .plot").get_attribute("aria-label")
    assert label
    assert re.fullmatch(r"Latency\. (p\d\d: latest [\d.]+ \S+, lowest [\d.]+ \S+, highest [\d.]+ \S+(; )?){3}\.", label)
    page.get_by_text("Latency as a table").click()
    rows = page.locator("#points-latency tbody tr")
    expect(rows.first).to_be_visible()
    minutes = asked(
        pipeline,
        "SELECT uniqExact(toStartOfMinute(Timestamp)) FROM otel_traces "
        f"WHERE ServiceName = 'frontend' AND {IN_WINDOW} AND {ENTRY}",
    )
    assert rows.count() == minutes[0][0]


def test_a_failed_trace_opens_to_its_spans_events_and_log_records(page: Page, pipeline: Pipeline) -> None:
    open_page(page, pipeline, f"/service/payment?{pipeline.window}")
    page.get_by_role("link", name="Failed", exact=True).click()
    page.wait_for_selector("body[data-ready]")
    trace_id = page.locator("tr[data-trace]").first.get_attribute("data-trace")
    page.locator("tr[data-trace] a").first.click()
    page.wait_for_selector(".waterfall")
    assert page.url.endswith(f"/trace/{trace_id}")
    spans = pipeline.ask(
        "SELECT SpanId, StatusCode = 'Error', length(Events.Name), Duration FROM otel_traces "
        "WHERE TraceId = {id:String}",
        id=trace_id,
    )
    logs = pipeline.ask("SELECT SpanId, Body FROM otel_logs WHERE TraceId = {id:String}", id=trace_id)
    assert len(spans) > 5
    assert len(logs) > 0
    rows = page.locator("details[data-span]")
    shown = [rows.nth(n).get_attribute("data-span") or "" for n in range(rows.count())]
    assert sorted(shown) == sorted(span_id for span_id, *_ in spans)
    assert text(page, '.tiles [data-figure="spans"]') == str(len(spans))
    assert text(page, '.tiles [data-figure="failed"]') == str(sum(failed for _, failed, *_ in spans))
    assert text(page, '.tiles [data-figure="logs"]') == str(len(logs))
    for span_id, _, events, duration in spans:
        summary = page.locator(f'details[data-span="{span_id}"] > summary')
        took = re.sub(r"took|from.*", "", summary.locator(".took").inner_text().replace("\n", " "))
        assert nanoseconds(took) == pytest.approx(duration, rel=0.01)
        assert summary.locator('[data-figure="events"]').count() == (1 if events else 0)
    with_log, body = logs[0]
    span = page.locator(f'details[data-span="{with_log}"]')
    span.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(span.locator(".inside")).to_contain_text(body)


def test_a_trace_is_found_by_its_id_in_any_page(page: Page, pipeline: Pipeline) -> None:
    trace_id = pipeline.ask("SELECT TraceId FROM otel_traces LIMIT 1")[0][0]
    open_page(page, pipeline, "/pipeline")
    page.get_by_label("Trace id").fill(f" {trace_id.upper()} ")
    page.keyboard.press("Enter")
    page.wait_for_selector(".waterfall")
    assert trace_id in text(page, ".lede")


def test_the_pipeline_page_agrees_with_the_tables_and_balances(page: Page, pipeline: Pipeline) -> None:
    open_page(page, pipeline, f"/pipeline?{pipeline.window}")
    metrics = pipeline.ask(
        "SELECT name FROM system.tables "
        "WHERE database = 'otel' AND name LIKE 'otel_metrics_%' AND engine LIKE '%MergeTree'"
    )
    tables = {"traces": ["otel_traces"], "logs": ["otel_logs"], "metrics": [str(name) for (name,) in metrics]}
    stored = {
        signal: sum(int(pipeline.ask(f"SELECT count() FROM {name}")[0][0]) for name in names)
        for signal, names in tables.items()
    }
    assert min(stored.values()) > 0
    for signal, items in stored.items():
        row = f'tr[data-signal="{signal}"]'
        shown = [text(page, f'{row} [data-figure="{key}"]') for key in ("received", "stored", "in-flight", "missing")]
        assert shown == [f"{items:,}", f"{items:,}", "0", "0"]
    assert text(page, '.tiles [data-figure="stored"]') == f"{sum(stored.values()):,}"
    assert text(page, '.tiles [data-figure="waiting"]') == "0"
    expect(page.locator(".verdict")).to_contain_text("The ledger balances")
    expect(page.locator("#chart-stored canvas")).to_be_visible()


def test_tab_reaches_everything_in_order_with_a_visible_focus(page: Page, pipeline: Pipeline) -> None:
    open_page(page, pipeline, f"/?{pipeline.window}")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    expect(skip).to_have_text("Skip to the figures")
    assert skip.bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    open_page(page, pipeline, f"/?{pipeline.window}")
    wanted = page.evaluate("document.querySelectorAll('a[href], button, input, select, summary').length")
    seen = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(
            "[[...document.querySelectorAll('a[href], button, input, select, summary')]"
            ".indexOf(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]"
        ))  # fmt: skip
    assert seen == [[n, "solid"] for n in range(wanted)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", AXE_PATHS)
def test_axe_finds_no_fault_with_names_roles_and_contrast(
    page: Page, pipeline: Pipeline, path: str, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    if path == "/trace":
        path = "/trace/" + pipeline.ask("SELECT TraceId FROM otel_traces WHERE StatusCode = 'Error' LIMIT 1")[0][0]
    open_page(page, pipeline, f"{path}?{pipeline.window}")
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found.response["violations"]] == []
    assert "color-contrast" in [rule["id"] for rule in found.response["passes"]]


def send_span(pipeline: Pipeline, service: str, *, failed: bool = False) -> None:
    """One server span through the front door, as a client without an SDK would send it."""
    now_ns = time.time_ns()
    span = {
        "traceId": f"{now_ns:032x}", "spanId": f"{now_ns % 2**64:016x}", "name": service, "kind": 2,
        "startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 10**7),
        "status": {"code": 2 if failed else 0},
    }  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    request = Request(
        f"{pipeline.otlp_http}/v1/traces", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_a_hostile_service_name_is_text_wherever_it_is_shown(page: Page, pipeline: Pipeline) -> None:
    name = "<img src=x onerror=\"alert('owned')\"><script>alert(1)</script>'&/.."
    send_span(pipeline, name, failed=True)
    page.goto(pipeline.viewer)
    link = page.get_by_role("link", name=name, exact=True)
    for _ in range(40):
        if link.count():
            break
        page.wait_for_timeout(250)
        page.reload()
    link.first.click()
    page.wait_for_selector("body[data-ready]")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    page.locator("tr[data-trace] a").first.click()
    page.wait_for_selector(".waterfall")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert page.locator("img").count() == 1


def test_an_open_page_refreshes_in_place_and_keeps_the_focus(page: Page, pipeline: Pipeline) -> None:
    send_span(pipeline, "refreshed")
    open_page(page, pipeline, "/service/refreshed?from=now-15m&to=now&refresh=1")
    calls = page.locator('.tiles [data-figure="calls"]')
    expect(calls).to_have_text("1", timeout=15_000)
    page.get_by_text("Calls per second as a table").click()
    page.evaluate("window.notReloaded = true")
    page.locator("#points-rate > summary").focus()
    send_span(pipeline, "refreshed")
    expect(calls).to_have_text("2", timeout=15_000)
    assert page.evaluate("window.notReloaded") is True
    assert page.evaluate("document.activeElement.parentElement.id") == "points-rate"
    expect(page.locator("#points-rate")).to_have_attribute("open", "")
    expect(page.locator("#chart-rate canvas")).to_be_visible()


def test_pages_read_without_scripts(pipeline: Pipeline, page: Page) -> None:
    with page.context.browser.new_context(java_script_enabled=False) as plain:  # type: ignore[union-attr]
        opened = plain.new_page()
        opened.goto(f"{pipeline.viewer}/service/payment?{pipeline.window}")
        opened.get_by_text("Latency as a table").click()
        expect(opened.locator("#points-latency tbody tr").first).to_be_visible()
