"""Every dashboard file in a real browser, after a real demo: drawn, filled in, and agreeing with SQL."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from dashboards.boards.file import provided
from dashboards.viewer.figures import share
from tests.browser.conftest import Pipeline

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]
# Nothing of the kind happens in this demo, or is asked for by an address without a trace or metric.
EMPTY = {
    # The demo's pipeline does not tell of itself here.
    "sluiceway-pipeline": None,
    "sluiceway-traces": {"Trace"},
    "sluiceway-metrics": None,
    "sluiceway-runtime": None,
    "sluiceway-cardinality": {"Folded"},
}


def open_board(page: Page, pipeline: Pipeline, uid: str, variables: str = "") -> None:
    page.goto(f"{pipeline.viewer}/d/{uid}?{pipeline.window}{variables}")
    page.wait_for_selector("body[data-ready]")


def colours(page: Page, panel: str) -> int:
    """A canvas on which nothing was drawn is of one colour."""
    counted = page.locator(f"{panel} canvas").first.evaluate(
        "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
    )
    return int(counted)


@pytest.mark.parametrize("board", provided(), ids=lambda board: board.uid)
def test_every_panel_is_drawn_or_says_that_it_has_no_data(page: Page, pipeline: Pipeline, board) -> None:  # type: ignore[no-untyped-def]
    open_board(page, pipeline, board.uid, "&var-service=checkout" if board.uid == "sluiceway-service" else "")
    expect(page.get_by_role("heading", level=1)).to_have_text(board.title)
    assert page.locator('[data-figure="problem"]').count() == 0
    allowed = EMPTY.get(board.uid, set())
    for panel in board.panels:
        place = f"#panel-{panel.number}"
        expect(page.locator(f"{place} h2")).to_have_text(panel.title)
        if page.locator(f'{place} [data-figure="empty"]').count():
            assert allowed is None or panel.title in allowed, (board.uid, panel.title)
        elif panel.kind in ("timeseries", "heatmap", "nodeGraph"):
            assert colours(page, place) > 3, panel.title
            assert page.locator(f"{place} details").count() >= 1
        elif panel.kind == "stat":
            expect(page.locator(f'{place} [data-figure="stat"]')).not_to_have_text("-")
        else:
            assert page.locator(f"{place} tbody tr").count() >= 1


def test_the_fleet_shows_the_shares_that_spans_have_and_leads_to_a_service(page: Page, pipeline: Pipeline) -> None:
    open_board(page, pipeline, "sluiceway-fleet")
    rows = page.locator('section[data-kind="table"] tbody tr')
    shown = {rows.nth(n).locator("td").first.inner_text(): rows.nth(n).locator("td").nth(2).inner_text()
             for n in range(rows.count())}  # fmt: skip
    wanted = pipeline.ask(
        "SELECT ServiceName, countIf(StatusCode = 'Error') / count() FROM otel_traces"
        " WHERE Timestamp >= fromUnixTimestamp64Milli({from_ms:Int64})"
        " AND Timestamp < fromUnixTimestamp64Milli({to_ms:Int64})"
        " AND SpanKind IN ('Server', 'Consumer') GROUP BY ServiceName",
        from_ms=pipeline.from_ms,
        to_ms=pipeline.to_ms,
    )
    assert len(wanted) == 8
    for service, errors in wanted:
        assert shown[service] == share(errors)
    page.get_by_role("link", name="payment", exact=True).click()
    page.wait_for_selector("body[data-ready]")
    expect(page.get_by_label("Service", exact=True)).to_have_value("payment")


def test_a_variable_is_chosen_with_the_keyboard_and_stays_in_the_address(page: Page, pipeline: Pipeline) -> None:
    open_board(page, pipeline, "sluiceway-service")
    page.get_by_label("Service", exact=True).focus()
    page.keyboard.type("shipping")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**var-service=shipping**")
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("link", name="1 hour").click()
    page.wait_for_url("**from=now-1h**")
    assert "var-service=shipping" in page.url
    expect(page.get_by_label("Service", exact=True)).to_have_value("shipping")


def test_a_refresh_leaves_a_form_alone_that_somebody_is_changing(page: Page, pipeline: Pipeline) -> None:
    page.goto(f"{pipeline.viewer}/d/sluiceway-traces?from=now-1h&refresh=1")
    page.wait_for_selector("body[data-ready]")
    typed = page.get_by_label("Trace", exact=False).first
    typed.focus()
    page.keyboard.type("0af765")
    page.evaluate("document.querySelector('.board').dataset.old = 'true'")
    # Two refreshes: all around the form is new, what was typed and the caret are not.
    page.wait_for_selector(".board:not([data-old])")
    page.evaluate("document.querySelector('.board').dataset.old = 'true'")
    page.wait_for_selector(".board:not([data-old])")
    page.keyboard.type("1916")
    expect(typed).to_have_value("0af7651916")
    expect(typed).to_be_focused()


def test_a_trace_that_an_address_names_is_drawn_as_a_waterfall(page: Page, pipeline: Pipeline) -> None:
    [(trace, spans)] = pipeline.ask(
        "SELECT TraceId, count() FROM otel_traces WHERE TraceId IN (SELECT TraceId FROM otel_traces"
        " WHERE ServiceName = 'checkout' LIMIT 1) GROUP BY TraceId"
    )
    open_board(page, pipeline, "sluiceway-traces", f"&var-trace={trace}")
    expect(page.locator(".waterfall > li")).to_have_count(spans)


def test_a_name_from_an_address_is_text(page: Page, pipeline: Pipeline) -> None:
    open_board(
        page, pipeline, "sluiceway-service", "&var-service=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E'%24__timeFilter("
    )
    assert page.locator('[data-figure="problem"]').count() == 0
    assert page.locator("img[src=x]").count() == 0
