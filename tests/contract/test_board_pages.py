"""Dashboard files as pages over a real store: every address, and what fails stays in its own panel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from functools import partial

import pytest
from clickhouse_connect.driver.client import Client

from dashboards.boards import page
from dashboards.boards.file import BoardFile, Panel, Variable, provided
from dashboards.settings import ViewerSettings
from dashboards.store import StoreReader
from dashboards.viewer.window import parse
from processors.store_client import connect
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port
from tests.panels import panel
from tests.viewer_under_test import create_tables, get, insert, serving, span, writer

CALLS = "SELECT toStartOfMinute(Timestamp) AS time, count() AS calls FROM otel_traces GROUP BY time ORDER BY time"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("boards"), StoreSettings(http_port=free_port())) as running:
        with writer(running) as client:
            create_tables(client)
            _fill(client)
        yield running


def _fill(client: Client) -> None:
    insert(client, "otel_traces", [span(time.time() - 60 * n, "cart", trace_id=f"{n:032x}") for n in range(10)])


def asking(number: int, kind: str, sql: str) -> Panel:
    return panel(kind, number=number, queries={"A": sql})


def shown(
    store: EmbeddedStore, *panels: Panel, variables: tuple[Variable, ...] = (), marks: tuple[tuple[str, str], ...] = (),
    asked: Mapping[str, list[str]] | None = None,
) -> page.View:  # fmt: skip
    board = BoardFile("given", "Given", "", "now-1h", variables, panels, marks)

    async def read() -> page.View:
        settings = ViewerSettings()
        reader = StoreReader(partial(connect, store.url))
        try:
            window = parse("now-1h", None, time.time())
            return await page.read(reader, board, window, asked or {}, settings)
        finally:
            reader.close()

    return asyncio.run(read())


def test_every_dashboard_has_its_address_and_is_listed(store: EmbeddedStore) -> None:
    with serving(store.url) as viewer:
        status, listed, _ = get(f"{viewer.url}/boards")
        assert status == 200
        for board in provided():
            assert f"/d/{board.uid}" in listed
            status, text, _ = get(f"{viewer.url}/d/{board.uid}?refresh=30s")
            assert status == 200, board.uid
            assert 'data-figure="problem"' not in text, board.uid
            assert text.count('class="panel ') == len(board.panels)
            assert get(f"{viewer.url}/d/{board.uid}/a-title-as-grafana-adds-it")[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/d/nothing", 404, "There is no dashboard &#39;nothing&#39;"),
        ("/d/sluiceway-fleet?from=yesterday", 400, "yesterday"),
    ],
)
def test_an_address_of_nothing_says_so(store: EmbeddedStore, path: str, status: int, said: str) -> None:
    with serving(store.url) as viewer:
        answer, text, _ = get(f"{viewer.url}{path}")
    assert (answer, said in text) == (status, True)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (asking(1, "timeseries", "SELECT nothing FROM otel_traces"), "nothing"),
        (asking(1, "timeseries", "SELECT 'not a time' AS time, 1 AS value"), "do not fit a timeseries panel"),
        (asking(1, "nodeGraph", "SELECT 'a' AS id"), "do not fit a nodeGraph panel"),
        (asking(1, "heatmap", "SELECT 1 AS one"), "do not fit a heatmap panel"),
        (asking(1, "table", "SELECT $__noSuchMacro(1)"), "no macro"),
    ],
)
def test_a_panel_that_fails_leaves_the_others_standing(store: EmbeddedStore, broken: Panel, why: str) -> None:
    found, beside = shown(store, broken, asking(2, "timeseries", CALLS)).panels
    assert why in found.problem
    assert beside.problem == ""
    assert beside.chart is not None


@pytest.mark.parametrize("form", ["'$service'", "'${service}'", "${service:raw}", "'[[service]]'", "${service:csv}"])
def test_a_variable_that_is_not_quoted_is_refused_and_never_reaches_the_store(store: EmbeddedStore, form: str) -> None:
    service = Variable("service", "Service", "", several=False, fixed=None)
    hostile = {"var-service": ["' OR 1=1 --"]}
    view = shown(store, asking(1, "table", f"SELECT {form}"), variables=(service,), asked=hostile)
    assert "must be ${name:singlequote}" in view.panels[0].problem


def test_marks_of_one_title_are_all_drawn_and_those_without_a_time_are_none(store: EmbeddedStore) -> None:
    two = "SELECT now() - INTERVAL (10 * number) MINUTE AS time, 'cart 2.0' AS title FROM numbers(2)"
    view = shown(
        store, asking(1, "timeseries", CALLS), marks=(("Deployments", two), ("Timeless", "SELECT 'never' AS title"))
    )
    chart = view.panels[0].chart
    assert chart is not None
    assert [mark["name"] for mark in chart.options["marks"]] == ["cart 2.0", "cart 2.0"]
