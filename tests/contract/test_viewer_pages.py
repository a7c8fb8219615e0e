"""The viewer's pages over a real store: figures, addresses, refusals, hostile names."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dashboards.settings import ViewerSettings
from dashboards.viewer.serve import Viewer
from processors.store_client import connect
from schemas.errors import ConfigurationError, LogUnavailableError
from schemas.log import LogSnapshot, Progress, TopicCount
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port
from tests.viewer_under_test import (
    GivenHealth,
    create_tables,
    empty_tables,
    get,
    insert,
    log_record,
    serving,
    span,
    writer,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = "<script>alert('x')</script>\"&' onload=1/../?a=b#c %00 \u202e"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store of this file's own, as the viewer's tables have fixed names."""
    with EmbeddedStore(tmp_path_factory.mktemp("viewer"), StoreSettings(http_port=free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def client(store: EmbeddedStore) -> Iterator[Client]:
    with writer(store) as connected:
        create_tables(connected)
        yield connected


@pytest.fixture(autouse=True)
def _no_rows(client: Client) -> None:
    empty_tables(client)


def figure(page: str, row: str, name: str) -> str:
    """The figure `name` inside the element whose tag carries `row`."""
    found = re.search(re.escape(row) + r".*?data-figure=\"" + name + r"\">([^<]*)<", page, re.DOTALL)
    assert found, f"no {name} after {row}"
    return found[1]


def test_the_empty_page_says_where_to_send_telemetry(store: EmbeddedStore) -> None:
    viewer = Viewer(
        ViewerSettings(port=0), partial(connect, store.url), GivenHealth(), otlp_http="http://127.0.0.1:14318"
    )
    viewer.start()
    try:
        status, page, _ = get(viewer.url)
    finally:
        viewer.stop()
    assert status == 200
    assert "No telemetry yet" in page
    assert "http://127.0.0.1:4317" in page
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14318" in page


def test_a_service_is_counted_by_the_calls_into_it(store: EmbeddedStore, client: Client) -> None:
    now_s = time.time()
    insert(client, "otel_traces", [
        *(span(now_s - 100, "cart", failed=n < 2) for n in range(40)),
        *(span(now_s - 100, "cart", kind="Internal", duration_ns=9_000_000_000) for _ in range(60)),
        *(span(now_s - 100, "batch", kind="Internal") for _ in range(7)),
    ])  # fmt: skip
    with serving(store.url) as viewer:
        _, page, _ = get(viewer.url)
    assert figure(page, 'data-service="cart"', "calls") == "40"
    assert figure(page, 'data-service="cart"', "errors") == "5 %"
    assert figure(page, 'data-service="batch"', "calls") == "7"
    p95 = figure(page, 'data-service="cart"', "p95")
    assert float(p95.removesuffix(" ms")) == pytest.approx(10, rel=0.05)


def test_the_failing_service_stands_first_and_says_so_in_words(store: EmbeddedStore, client: Client) -> None:
    now_s = time.time()
    insert(client, "otel_traces", [
        *(span(now_s - 60, "aaa") for _ in range(20)),
        *(span(now_s - 60, "zzz", failed=n < 5) for n in range(20)),
        *(span(now_s - 60, "slow", duration_ns=90_000_000) for _ in range(20)),
        *(span(now_s - 700, "slow", duration_ns=9_000_000) for _ in range(20)),
        *(span(now_s - 700, "gone") for _ in range(20)),
    ])  # fmt: skip
    with serving(store.url) as viewer:
        _, page, _ = get(viewer.url)
    order = re.findall(r'data-service="(\w+)"', page)
    assert order == ["zzz", "slow", "aaa", "gone"]
    assert "1 of 4 services failing" in page
    assert "25.0% of recent calls fail" in page


def test_a_hostile_service_name_stays_text_and_its_link_leads_to_it(store: EmbeddedStore, client: Client) -> None:
    named: dict[str, Any] = {
        "name": HOSTILE,
        "version": HOSTILE,
        "StatusMessage": HOSTILE,
        "SpanAttributes": {HOSTILE: HOSTILE},
    }
    insert(client, "otel_traces", [span(time.time() - 60, HOSTILE, trace_id=TRACE, span_id="s1", **named)])
    insert(client, "otel_logs", [log_record(time.time() - 60, HOSTILE, HOSTILE, trace_id=TRACE, span_id="s1")])
    with serving(store.url) as viewer:
        pages = [get(viewer.url + path) for path in ("/", f"/service/{quote(HOSTILE, safe='')}", f"/trace/{TRACE}")]
        _, first, headers = pages[0]
        link = re.search(r'<th scope="row"><a href="([^"]*)"', first)
        assert link
        status, linked, _ = get(viewer.url + link[1].replace("&amp;", "&"))
    assert [status for status, _, _ in pages] == [200, 200, 200]
    assert all("<script>alert" not in page for _, page, _ in pages)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in pages[1][1]
    assert status == 200
    assert figure(linked, "<h1>", "calls") == "1"
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "100%", "é", "?", "#", "a//b", "/"])
def test_the_page_of_any_service_name_is_reached_by_its_link(store: EmbeddedStore, client: Client, name: str) -> None:
    insert(client, "otel_traces", [span(time.time() - 60, name) for _ in range(3)])
    with serving(store.url) as viewer:
        _, page, _ = get(viewer.url)
        link = re.search(r'<th scope="row"><a href="([^"]*)"', page)
        assert link
        _, linked, _ = get(viewer.url + link[1].replace("&amp;", "&"))
    assert figure(linked, "<h1>", "calls") == "3"


def test_a_trace_shows_spans_events_and_log_records_in_their_place(store: EmbeddedStore, client: Client) -> None:
    at_s = float(int(time.time()) - 60)
    event: dict[str, Any] = {"Events.Timestamp": [f"{at_s + 0.02:.9f}"], "Events.Name": ["exception"],
             "Events.Attributes": [{"exception.message": "gateway gone"}],
             "Events.DroppedAttributesCount": [0]}  # fmt: skip
    insert(client, "otel_traces", [
        span(at_s, "shop", trace_id=TRACE, span_id="a1", duration_ns=50_000_000, name="POST /order"),
        span(at_s + 0.01, "pay", trace_id=TRACE, span_id="b2", parent="a1", duration_ns=10**7, failed=True, **event),
    ])  # fmt: skip
    insert(client, "otel_logs", [log_record(at_s + 0.02, "pay", "declined", trace_id=TRACE, span_id="b2", severity=17)])
    with serving(store.url) as viewer:
        status, page, _ = get(f"{viewer.url}/trace/{TRACE.upper()}")
    assert status == 200
    assert [figure(page, "<h1>", name) for name in ("duration", "spans", "failed", "logs")] == ["50 ms", "2", "1", "1"]
    assert re.findall(r'data-span="(\w+)"', page) == ["a1", "b2"]
    assert "gateway gone" in page
    assert page.count("declined") == 2


def test_a_trace_with_more_spans_than_are_drawn_says_so(store: EmbeddedStore, client: Client) -> None:
    insert(client, "otel_traces", [span(time.time() - 60, "a", trace_id=TRACE, span_id=str(n)) for n in range(12)])
    with serving(store.url, spans_limit=10) as viewer:
        _, page, _ = get(f"{viewer.url}/trace/{TRACE}")
    assert figure(page, "<h1>", "spans") == "10+"
    assert "more spans than are drawn" in page


def test_text_of_megabytes_is_shown_by_its_beginning_and_its_size(store: EmbeddedStore, client: Client) -> None:
    long = "é" * 1_000_000
    insert(client, "otel_traces", [
        span(time.time() - 60, "a", trace_id=TRACE, span_id="s1", StatusMessage=long, SpanAttributes={"k": long}),
    ])  # fmt: skip
    insert(client, "otel_logs", [log_record(time.time() - 60, "a", long, trace_id=TRACE, span_id="s1")])
    with serving(store.url) as viewer:
        _, page, _ = get(f"{viewer.url}/trace/{TRACE}")
    assert page.count(f"{'é' * 1000} ... (2000000 bytes)") == 4
    assert len(page) < 20_000


def test_traces_are_listed_latest_failed_or_slowest(store: EmbeddedStore, client: Client) -> None:
    now_s = time.time()
    ids = [f"{n:032x}" for n in range(3)]
    insert(client, "otel_traces", [
        span(now_s - 30, "a", trace_id=ids[0]),
        span(now_s - 40, "a", trace_id=ids[1], duration_ns=10**9),
        span(now_s - 50, "a", trace_id=ids[2], failed=True),
    ])  # fmt: skip
    with serving(store.url) as viewer:
        lists = [
            re.findall(r'data-trace="(\w+)"', get(f"{viewer.url}/service/a?traces={which}")[1])
            for which in ("", "failed", "slowest")
        ]
    assert lists == [ids, [ids[2]], [ids[1], *sorted((ids[0], ids[2]), key=lists[2].index)]]


def test_an_operation_leads_to_its_slowest_and_its_failed_trace(store: EmbeddedStore, client: Client) -> None:
    now_s = time.time()
    insert(client, "otel_traces", [
        span(now_s - 60, "cart", name="GET /", trace_id="fast"),
        span(now_s - 60, "cart", name="GET /", trace_id="slow", duration_ns=10**9),
        span(now_s - 60, "cart", name="GET /", trace_id="broken", failed=True),
        span(now_s - 60, "cart", name="PUT /", trace_id="only"),
    ])  # fmt: skip
    with serving(store.url) as viewer:
        _, page, _ = get(viewer.url + "/service/cart")
    rows = {row.partition('"')[0]: row for row in page.partition('id="operations"')[2].split('data-operation="')[1:]}
    links = {name: re.findall(r'href="/trace/(\w+)"', row.partition("</tr>")[0]) for name, row in rows.items()}
    assert links == {"GET /": ["slow", "broken"], "PUT /": ["only"]}


def test_the_latest_traces_of_a_long_range_are_found_near_its_end_and_far_from_it(
    store: EmbeddedStore, client: Client
) -> None:
    now_s = time.time()
    ages_s = (60, 2000, 10_000, 80_000)
    ids = [f"{n:032x}" for n in range(len(ages_s))]
    rows = [span(now_s - age_s, "a", trace_id=trace_id) for age_s, trace_id in zip(ages_s, ids, strict=True)]
    insert(client, "otel_traces", rows)
    with serving(store.url) as viewer:
        _, page, _ = get(f"{viewer.url}/service/a?from=now-24h")
    with serving(store.url, traces_limit=1) as viewer:
        _, shortened, _ = get(f"{viewer.url}/service/a?from=now-24h")
    assert re.findall(r'data-trace="(\w+)"', page) == ids
    assert re.findall(r'data-trace="(\w+)"', shortened) == ids[:1]


def test_a_service_stays_readable_when_its_traces_cannot_be_listed_in_time(
    store: EmbeddedStore, client: Client
) -> None:
    insert(client, "otel_traces", [span(time.time() - 60, "a", trace_id=TRACE)])
    client.command("RENAME TABLE otel.otel_traces TO otel.otel_traces_away")
    try:
        client.command("CREATE VIEW otel.otel_traces AS SELECT * FROM otel.otel_traces_away WHERE sleepEachRow(2) = 0")
        with serving(store.url, query_timeout_s=1) as viewer:
            status, page, _ = get(f"{viewer.url}/service/a")
    finally:
        client.command("DROP VIEW IF EXISTS otel.otel_traces")
        client.command("RENAME TABLE otel.otel_traces_away TO otel.otel_traces")
    assert status == 200
    assert figure(page, "<h1>", "calls") == "1"
    assert "A shorter range may do" in page


def test_the_pipeline_page_balances_the_log_against_the_ledger(store: EmbeddedStore, client: Client) -> None:
    row = {"Time": f"{time.time():.3f}", "TenantId": "acme", "Signal": "traces", "Topic": "otlp_spans", "Partition": 0}
    insert(client, "ledger", [
        {**row, "FirstOffset": 0, "LastOffset": 4, "TableName": "", "Received": 90, "DeadLettered": 2},
        {**row, "FirstOffset": 0, "LastOffset": 4, "TableName": "otel_traces", "Stored": 88},
        # A batch that is inserted and not yet committed: its items are still in flight.
        {**row, "FirstOffset": 5, "LastOffset": 6, "TableName": "otel_traces", "Stored": 10},
    ])  # fmt: skip
    log = LogSnapshot([TopicCount("otlp_spans", 0, "acme", 7, 100, 3)], {("otlp_spans", 0): Progress(5)},
                      {("otlp_spans", 0, "acme"): 10}, {("otlp_spans", "acme"): 1})  # fmt: skip
    with serving(store.url, GivenHealth(log)) as viewer:
        _, page, _ = get(f"{viewer.url}/pipeline")
    names = ("received", "stored", "in-flight", "lag", "waiting", "missing")
    assert [figure(page, "<h1>", name) for name in names] == ["103", "88", "10", "250 ms", "1", "0"]
    assert "The ledger balances" in page


def test_the_pipeline_page_shows_what_is_missing(store: EmbeddedStore) -> None:
    log = LogSnapshot([TopicCount("otlp_logs", 0, "", 1, 100, 0)], {("otlp_logs", 0): Progress(1)}, {}, {})
    with serving(store.url, GivenHealth(log)) as viewer:
        _, page, _ = get(f"{viewer.url}/pipeline")
    assert "The ledger does not balance:</strong> 100 items" in page


def test_the_pipeline_page_stays_up_while_the_log_cannot_be_read(store: EmbeddedStore) -> None:
    with serving(store.url, GivenHealth(LogUnavailableError("the disk is gone"))) as viewer:
        status, page, _ = get(f"{viewer.url}/pipeline")
    assert status == 200
    assert "the disk is gone" in page


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?from=tomorrow", 400, "from must be now, now-15m"),
        ("/service/a?from=now-2h&to=now-1h", 200, "No spans of this service"),
        ("/pipeline?from=now&to=now-1h", 400, "from must be earlier than to"),
        ("/trace/xyz", 400, "32 hexadecimal digits; got &#39;xyz&#39;"),
        (f"/trace/{TRACE}", 404, "No span of trace"),
        ("/trace?id=%3Cb%3E", 400, "&lt;b&gt;"),
        ("/nothing", 404, "There is no such page"),
        ("/static/../settings.py", 404, "There is no such page"),
        ("/static/%2e%2e/app.py", 404, "There is no such page"),
    ],
)
def test_a_wrong_address_is_answered_with_what_is_wrong(
    store: EmbeddedStore, path: str, status: int, words: str
) -> None:
    with serving(store.url) as viewer:
        got, page, _ = get(viewer.url + path)
    assert got == status
    assert words in page


def test_pages_answer_503_and_come_back_by_themselves_while_the_store_is_away(store: EmbeddedStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        away = f"http://127.0.0.1:{deaf.getsockname()[1]}"
    with serving(away) as viewer:
        status, page, headers = get(viewer.url)
    assert status == 503
    assert "does not answer" in page
    assert headers["retry-after"] == headers["refresh"] == "2"


def test_a_query_that_is_too_heavy_is_stopped_by_the_store_and_said(store: EmbeddedStore, client: Client) -> None:
    insert(client, "spans_1m", [{"Time": int(time.time()) - 60, "ServiceName": "a", "Calls": 1}])
    client.command("RENAME TABLE otel.spans_1m TO otel.spans_1m_away")
    try:
        client.command("CREATE VIEW otel.spans_1m AS SELECT * FROM otel.spans_1m_away WHERE sleepEachRow(2) = 0")
        with serving(store.url, query_timeout_s=1) as viewer:
            status, page, _ = get(viewer.url)
    finally:
        client.command("DROP VIEW IF EXISTS otel.spans_1m")
        client.command("RENAME TABLE otel.spans_1m_away TO otel.spans_1m")
    assert status == 503
    assert "TIMEOUT_EXCEEDED" in page


def test_a_foreign_host_name_is_refused(store: EmbeddedStore) -> None:
    with serving(store.url) as viewer:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(viewer.url).port or 0)
        connection.request("GET", "/", headers={"Host": "attacker.example"})
        status = connection.getresponse().status
        connection.close()
    assert status == 400


def test_many_readers_at_once_are_answered_or_told_to_come_back(store: EmbeddedStore, client: Client) -> None:
    insert(client, "otel_traces", [span(time.time() - 60, "a")])
    answers: list[int] = []
    with serving(store.url, pool_size=1, waiting_max=4) as viewer:
        readers = [threading.Thread(target=lambda: answers.append(get(viewer.url)[0])) for _ in range(40)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        last, _, _ = get(viewer.url)
    assert len(answers) == 40
    assert set(answers) <= {200, 503}
    assert 200 in answers
    assert last == 200


def test_the_viewer_stops_cleanly_and_starts_again(store: EmbeddedStore) -> None:
    viewer = Viewer(ViewerSettings(port=0), partial(connect, store.url), GivenHealth())
    before = threading.active_count()
    for _ in range(2):
        viewer.start()
        assert get(viewer.url)[0] == 200
        viewer.stop()
        assert threading.active_count() == before
    viewer.stop()


def test_further_routes_are_served_beside_the_pages(store: EmbeddedStore) -> None:
    routes = [Route("/healthz", lambda _request: PlainTextResponse("alive"))]
    viewer = Viewer(ViewerSettings(port=0), partial(connect, store.url), GivenHealth(), routes=routes)
    viewer.start()
    try:
        assert get(f"{viewer.url}/healthz")[:2] == (200, "alive")
        assert get(viewer.url)[0] == 200
    finally:
        viewer.stop()


def test_a_disabled_viewer_opens_no_port(store: EmbeddedStore) -> None:
    with serving(store.url, enabled=False) as viewer, pytest.raises(URLError):
        get(viewer.url)


def test_a_taken_port_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"viewer.port: cannot listen on 127.0.0.1:{port}"):
            Viewer(ViewerSettings(port=port), partial(connect, "http://127.0.0.1:1"), GivenHealth()).start()
