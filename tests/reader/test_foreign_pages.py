"""A page of another origin, in a real Chromium, neither reads the store nor makes it run a statement.

Each way that a page has to send something is tried from pages of another port of 127.0.0.1, of localhost, of a name of
its own, and of a name that was bound to the store's own address (DNS rebinding), which is of the same origin as the
store. The store counts the queries of all users but the writer: what reached it is seen whatever the page was told.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import quote, unquote

import pytest
from playwright.sync_api import Browser, Error, Page, Playwright

from tests.chromium import ARGUMENTS, CHROMIUM
from tests.reader.attacked_store import ROWS, AttackedStore

pytestmark = pytest.mark.browser

MARKER = "4242424242"
# Tells whether a page could read an answer: the product of two numbers that stand in no request.
READ = "SELECT 65138 * 65139"
ANSWER = str(65138 * 65139)

# Each is JavaScript that gets STORE (the store's origin), READ and WRITE, and gives what it was told as text. A way that
# waits for an event gives up by itself.
WAYS = {
    "fetch GET": "(await fetch(STORE + '/?query=' + encodeURIComponent(READ))).text()",
    "fetch GET no-cors": "(await fetch(STORE + '/?query=' + encodeURIComponent(READ), {mode: 'no-cors'})).text()",
    "fetch POST": "(await fetch(STORE + '/', {method: 'POST', body: READ})).text()",
    "fetch POST no-cors": "(await fetch(STORE + '/', {method: 'POST', body: READ, mode: 'no-cors'})).text()",
    "fetch POST no-cors, no referrer": "(await fetch(STORE + '/', {method: 'POST', body: READ, mode: 'no-cors', referrerPolicy: 'no-referrer', credentials: 'omit'})).text()",
    "fetch GET no-cors, no referrer": "(await fetch(STORE + '/?query=' + encodeURIComponent(READ), {mode: 'no-cors', referrerPolicy: 'no-referrer', credentials: 'omit', cache: 'no-store'})).text()",
    "fetch POST text/plain": "(await fetch(STORE + '/', {method: 'POST', body: WRITE, headers: {'Content-Type': 'text/plain'}, mode: 'no-cors'})).text()",
    "fetch POST form": "(await fetch(STORE + '/', {method: 'POST', body: new URLSearchParams({query: WRITE}), mode: 'no-cors'})).text()",
    "fetch POST multipart": "(() => {const form = new FormData(); form.append('query', WRITE); return fetch(STORE + '/', {method: 'POST', body: form, mode: 'no-cors'}).then(each => each.text())})()",
    "fetch POST JSON": "(await fetch(STORE + '/', {method: 'POST', body: JSON.stringify({query: READ}), headers: {'Content-Type': 'application/json'}})).text()",
    "fetch with a header": "(await fetch(STORE + '/', {method: 'POST', body: READ, headers: {'X-ClickHouse-User': 'default'}})).text()",
    "fetch with a password": "(await fetch(STORE + '/?query=' + encodeURIComponent(READ), {headers: {'Authorization': 'Basic ' + btoa('default:')}})).text()",
    "fetch with credentials": "(await fetch(STORE + '/?query=' + encodeURIComponent(READ), {credentials: 'include'})).text()",
    "fetch PUT": "(await fetch(STORE + '/', {method: 'PUT', body: READ})).text()",
    "fetch a stream": "(await fetch(STORE + '/', {method: 'POST', body: new Blob([READ]).stream(), duplex: 'half'})).text()",
    "fetch from a worker": "new Promise((done, failed) => {const worker = new Worker(URL.createObjectURL(new Blob([`fetch('${STORE}/?query=' + encodeURIComponent('${READ}')).then(each => each.text()).then(postMessage, error => postMessage(String(error)))`]))); worker.onmessage = event => done(event.data); worker.onerror = failed})",
    "fetch from a sandbox": "inFrame(`<script>fetch('${STORE}/?query=' + encodeURIComponent('${READ}')).then(each => each.text()).then(text => parent.postMessage(text, '*'), error => parent.postMessage(String(error), '*'))</` + 'script>')",
    "XMLHttpRequest": "new Promise((done, failed) => {const asked = new XMLHttpRequest(); asked.open('POST', STORE + '/'); asked.onload = () => done(asked.responseText); asked.onerror = failed; asked.send(READ)})",
    "beacon": "(navigator.sendBeacon(STORE + '/', WRITE), 'sent')",
    "beacon with a query": "(navigator.sendBeacon(STORE + '/?query=' + encodeURIComponent(READ)), 'sent')",
    "image": "loaded(Object.assign(new Image(), {src: STORE + '/?query=' + encodeURIComponent(READ)}))",
    "script": "loaded(Object.assign(document.createElement('script'), {src: STORE + '/?query=' + encodeURIComponent(`SELECT 'window.told = ' || toString(65138 * 65139) FORMAT TSVRaw`)})).then(() => String(window.told))",
    "module": "import(STORE + '/?query=' + encodeURIComponent('SELECT 1')).then(String)",
    "style sheet": "loaded(Object.assign(document.createElement('link'), {rel: 'stylesheet', href: STORE + '/?query=' + encodeURIComponent(READ)}))",
    "prefetch": "loaded(Object.assign(document.createElement('link'), {rel: 'prefetch', href: STORE + '/?query=' + encodeURIComponent(READ)}))",
    "preload": "loaded(Object.assign(document.createElement('link'), {rel: 'preload', as: 'fetch', href: STORE + '/?query=' + encodeURIComponent(READ)}))",
    "audio": "loaded(Object.assign(document.createElement('audio'), {src: STORE + '/?query=' + encodeURIComponent(READ), preload: 'auto'}))",
    "object": "loaded(Object.assign(document.createElement('object'), {data: STORE + '/?query=' + encodeURIComponent(READ)}))",
    "embed": "loaded(Object.assign(document.createElement('embed'), {src: STORE + '/?query=' + encodeURIComponent(READ)}))",
    "font": "new FontFace('x', `url(${STORE}/?query=${encodeURIComponent(READ)})`).load().then(String)",
    "frame": "loaded(Object.assign(document.createElement('iframe'), {src: STORE + '/?query=' + encodeURIComponent(READ)})).then(frame => frame.contentDocument && frame.contentDocument.body.innerText)",
    "frame of the engine's page": "loaded(Object.assign(document.createElement('iframe'), {src: STORE + '/play'})).then(frame => frame.contentDocument && frame.contentDocument.title)",
    "form POST": "submitted('POST', 'application/x-www-form-urlencoded', WRITE)",
    "form POST text/plain": "submitted('POST', 'text/plain', WRITE)",
    "form POST multipart": "submitted('POST', 'multipart/form-data', WRITE)",
    "form GET": "submitted('GET', 'application/x-www-form-urlencoded', READ)",
    "EventSource": "new Promise((done, failed) => {const source = new EventSource(STORE + '/?query=' + encodeURIComponent(READ)); source.onmessage = event => done(event.data); source.onerror = () => {source.close(); failed(new Error('closed'))}})",
    "WebSocket": "new Promise((done, failed) => {const socket = new WebSocket(STORE.replace('http', 'ws') + '/?query=' + encodeURIComponent(READ)); socket.onopen = () => done('open'); socket.onerror = () => failed(new Error('closed'))})",
    "window": "opened(STORE + '/?query=' + encodeURIComponent(READ))",
    "window of the engine's page": "opened(STORE + '/play?user=default#' + btoa(READ))",
    "navigation by a 307": "(await fetch('/redirected?to=' + encodeURIComponent(STORE + '/'), {method: 'POST', body: WRITE, mode: 'no-cors'})).text()",
    "image by a redirect": "loaded(Object.assign(new Image(), {src: '/redirected?to=' + encodeURIComponent(STORE + '/?query=' + encodeURIComponent(READ))}))",
}  # fmt: skip

PAGE = """<!doctype html><title>foreign</title><body><script>
const patient = promise => Promise.race([promise, new Promise(done => setTimeout(() => done('nothing came'), 1500))]);
const loaded = element => patient(new Promise((done, failed) => {
    element.onload = () => done(element); element.oncanplay = () => done(element); element.onerror = () => failed(new Error('failed'));
    document.body.append(element);
}));
const inFrame = html => patient(new Promise(done => {
    window.addEventListener('message', event => done(event.data), {once: true});
    document.body.append(Object.assign(document.createElement('iframe'), {sandbox: 'allow-scripts', srcdoc: html}));
}));
const submitted = async (method, enctype, query) => {
    const frame = Object.assign(document.createElement('iframe'), {name: 'target' + Math.random()});
    document.body.append(frame);
    const form = Object.assign(document.createElement('form'), {method, enctype, action: STORE + '/', target: frame.name});
    form.append(Object.assign(document.createElement('textarea'), {name: 'query', value: query}));
    document.body.append(form);
    const there = new Promise(done => { frame.onload = done; });
    form.submit();
    await patient(there);
    return frame.contentDocument && frame.contentDocument.body.innerText;
};
const opened = async url => {
    const other = window.open(url);
    await new Promise(done => setTimeout(done, 700));
    const text = other && other.document.body.innerText;
    other && other.close();
    return text;
};
</script>"""


class Foreign(http.server.BaseHTTPRequestHandler):
    """An origin of somebody else's: the page, and redirections to wherever its own query says."""

    def do_GET(self) -> None:
        if self.path.startswith("/redirected?to="):
            self.send_response(307)
            self.send_header("Location", unquote(self.path.partition("=")[2]))
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def chromium(playwright_: Playwright) -> Iterator[Browser]:
    """One that takes every name below .example for 127.0.0.1, as a rebinding name server would have it."""
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with playwright_.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules]) as running:
        yield running


def statements_of_others(attacked: AttackedStore) -> int:
    """How many statements the engine has run or refused but for the writer's own."""
    rows = attacked.writer.query("SELECT value FROM system.events WHERE event = 'Query'").result_rows
    return int(rows[0][0]) if rows else 0


def give(page: Page, store: str, write: str) -> None:
    """Tell the page where the store is and what to ask of it."""
    page.evaluate("values => { [window.STORE, window.READ, window.WRITE] = values }", [store, READ, write])


def told_by(page: Page, way: str) -> str:
    """What the page was told, or why it was not."""
    try:
        return str(page.evaluate(f"async () => patient((async () => {way})())"))
    except Error as error:
        return f"refused: {error.message.splitlines()[0]}"


def test_the_ways_of_a_page_work_where_they_are_let_in(chromium: Browser, foreign_port: int) -> None:
    """Otherwise a mistake in a way would look like a refusal: an open server is told every one of them."""
    asked: list[str] = []
    silent: set[str] = set()
    told: dict[str, str] = {}

    class Open(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.command} {self.path} {body!r}")
            self.send_response(200)
            for header in ("Origin", "Headers", "Methods"):
                self.send_header(
                    f"Access-Control-Allow-{header}",
                    "*" if header != "Headers" else "X-ClickHouse-User, Authorization, Content-Type",
                )
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER.encode())

        do_GET = do_POST = do_PUT = do_OPTIONS = do_HEAD = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Nothing on the terminal."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Open)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with chromium.new_context() as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{foreign_port}/")
            give(page, f"http://127.0.0.1:{server.server_address[1]}", "WRITE")
            for name, way in WAYS.items():
                before = len(asked)
                told[name] = told_by(page, way)
                deadline_s = time.monotonic() + 2
                # A beacon is sent when the browser likes.
                while len(asked) == before and time.monotonic() < deadline_s:
                    page.wait_for_timeout(50)
                if len(asked) == before:
                    silent.add(name)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    # Chromium streams over HTTP/2 only.
    assert silent <= {"fetch a stream"}
    assert ANSWER in told["fetch GET"]
    assert ANSWER in told["fetch POST"]
    assert ANSWER in told["fetch from a sandbox"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_origin_reads_and_writes_nothing(
    attacked_store: AttackedStore, chromium: Browser, foreign_port: int, host: str
) -> None:
    assert_nothing_is_told_or_run(attacked_store, chromium, f"http://{host}:{foreign_port}/", attacked_store.url)


def test_a_page_whose_name_was_bound_to_the_store_reads_and_writes_nothing(
    attacked_store: AttackedStore, chromium: Browser
) -> None:
    """DNS rebinding: for the browser this is one origin, so no rule of its own holds."""
    own = f"http://rebound.example:{attacked_store.http_port}"
    assert_nothing_is_told_or_run(attacked_store, chromium, f"{own}/ping", own)


@pytest.mark.parametrize("path", ["/", "/?query=" + quote(READ), "/play", "/dashboard", "/ping"])
def test_the_address_bar_shows_nothing_of_the_store(
    attacked_store: AttackedStore, chromium: Browser, path: str
) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        answer = page.goto(f"{attacked_store.url}{path}")
        assert answer is not None
        assert ANSWER not in answer.text()
        assert page.evaluate("document.scripts.length") == 0


def assert_nothing_is_told_or_run(attacked: AttackedStore, chromium: Browser, origin: str, store: str) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(origin)
        if store in origin:
            # The store's own refusal is the page; what a rebinding page would have brought with it is put in.
            page.set_content(PAGE)
        before = statements_of_others(attacked)
        give(page, store, f"INSERT INTO {attacked.table} (Id) VALUES ({MARKER})")
        told = {name: told_by(page, way) for name, way in WAYS.items()}
        after = statements_of_others(attacked)
    assert {name: text for name, text in told.items() if ANSWER in text or MARKER in text} == {}
    # The two questions themselves; the second is counted before it answers.
    assert after - before == 1
    [(rows, most)] = attacked.writer.query(f"SELECT count(), max(Id) FROM {attacked.table}").result_rows
    assert (rows, most) == (len(ROWS), max(row[0] for row in ROWS))


def test_no_answer_allows_another_origin(attacked_store: AttackedStore) -> None:
    allowed = []
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        for headers in (
            {},
            {"Origin": "http://evil.example"},
            {
                "Origin": "null",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Private-Network": "true",
            },
        ):
            connection = HTTPConnection("127.0.0.1", attacked_store.http_port, timeout=10)
            connection.request(method, "/?query=SELECT%201", headers=headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            allowed += [
                json.dumps([method, headers, name])
                for name in answer.headers
                if name.lower().startswith("access-control")
            ]
    assert allowed == []
