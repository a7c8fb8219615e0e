"""Self-telemetry: what is exported, that it feeds nothing back, and what the three routes answer."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from email.message import Message

import pytest
import uvicorn
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from ingest.serve import Readiness as ReceiversReadiness
from schemas.errors import LogUnavailableError
from schemas.signals import Signal
from schemas.telemetry import CATALOGUE, SCOPE, SELF_TENANT, Kind, counter, histogram, observe
from schemas.tracing import BATCH_SPAN, batch_span
from sluiceway.health import Readiness, compiled_check, log_check, routes, store_check
from sluiceway.settings import TelemetrySettings
from sluiceway.telemetry import Providers, SelfTelemetry, WaitingSpans


class CountingLog:
    """A log's writer that counts what is appended with our own instruments, as the real one does."""

    def __init__(self, providers: Providers) -> None:
        meter = providers.meters.get_meter(SCOPE)
        self.appended: list[tuple[Signal, str, bytes, int]] = []
        self.away = False
        self._batches = counter("sluiceway_processor_batches_total", meter)
        self._duration = histogram("sluiceway_log_append_duration_seconds", meter)
        self._tracer = providers.tracers.get_tracer(SCOPE)

    def submit(self, signal: Signal, tenant: str, body: bytes, items: int, rejected: int) -> Future[None]:
        if self.away:
            raise LogUnavailableError("log: the disk is full")
        assert rejected == 0
        self.appended.append((signal, tenant, body, items))
        self._duration.record(0.01)
        self.store([tenant])
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def store(self, tenants: list[str]) -> None:
        """What the processors do with the records: one batch, one span."""
        with batch_span(tenants, {"signal": "traces"}, self._tracer):
            self._batches.add(1, {"signal": "traces"})

    def items(self) -> int:
        return sum(items for *_, items in self.appended)


@pytest.fixture
def providers() -> Providers:
    return Providers.build()


def _telemetry(providers: Providers, log: CountingLog) -> SelfTelemetry:
    return SelfTelemetry(log.submit, TelemetrySettings(), providers)


def test_an_idle_pipeline_writes_the_same_number_of_items_in_every_interval(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = _telemetry(providers, log)
    log.store([SELF_TENANT])
    written = []
    for _ in range(20):
        before = log.items()
        telemetry.export()
        written.append(log.items() - before)
    assert written[2] > 0
    assert set(written[2:]) == {written[2]}
    assert {signal for signal, *_ in log.appended} == {Signal.METRICS}


def test_a_busy_pipeline_writes_one_span_for_each_batch_of_others_and_none_for_its_own(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = _telemetry(providers, log)
    for _ in range(5):
        log.store(["", SELF_TENANT])
        log.store([SELF_TENANT])
    for _ in range(5):
        telemetry.export()
    requests = [
        ExportTraceServiceRequest.FromString(body) for signal, _, body, _ in log.appended if signal is Signal.TRACES
    ]
    names = [
        span.name
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names == [BATCH_SPAN] * 5


def test_what_is_appended_is_otlp_of_our_own_tenant_and_is_counted_exactly(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = _telemetry(providers, log)
    log.store([""])
    telemetry.export()
    telemetry.export()
    for signal, tenant, body, items in log.appended:
        assert tenant == SELF_TENANT
        if signal is Signal.METRICS:
            request = ExportMetricsServiceRequest.FromString(body)
            found = [
                metric
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            ]
            assert {metric.name for metric in found} <= set(CATALOGUE)
            assert sum(len(getattr(metric, str(metric.WhichOneof("data"))).data_points) for metric in found) == items
            resource = {pair.key: pair.value.string_value for pair in request.resource_metrics[0].resource.attributes}
            assert resource["service.name"] == "sluiceway"
    counted = _samples(telemetry)["sluiceway_telemetry_items_total"]
    assert counted == {
        (("outcome", "appended"), ("signal", "metrics")): sum(n for s, _, _, n in log.appended if s is Signal.METRICS),
        (("outcome", "appended"), ("signal", "traces")): 1.0,
    }


def test_spans_wait_while_the_log_is_away_and_metrics_are_counted_as_lost(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = _telemetry(providers, log)
    log.store([""])
    log.away = True
    telemetry.export()
    assert log.appended == []
    log.away = False
    telemetry.export()
    assert [signal for signal, *_ in log.appended] == [Signal.TRACES, Signal.METRICS]
    lost = _samples(telemetry)["sluiceway_telemetry_items_total"][("outcome", "lost"), ("signal", "metrics")]
    assert lost > 0


def test_spans_that_no_longer_fit_are_counted_as_lost() -> None:
    providers = Providers.build()
    waiting = WaitingSpans(capacity=3)
    tracer = providers.tracers.get_tracer("test")
    for number in range(5):
        tracer.start_span(str(number)).end()
    spans, _ = providers.waiting.take()
    for span in spans[:4]:
        waiting.on_end(span)
    kept, lost = waiting.take()
    assert ([span.name for span in kept], lost) == (["1", "2", "3"], 1)
    waiting.on_end(spans[4])
    waiting.put_back(kept)
    kept, lost = waiting.take()
    assert ([span.name for span in kept], lost) == (["2", "3", "4"], 1)


def test_it_exports_once_more_when_it_stops(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = SelfTelemetry(log.submit, TelemetrySettings(interval_s=3600), providers)
    log.store([""])
    telemetry.start()
    telemetry.stop()
    assert [signal for signal, *_ in log.appended] == [Signal.TRACES, Signal.METRICS]


def test_switched_off_it_exports_nothing_and_still_gives_metrics(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = SelfTelemetry(log.submit, TelemetrySettings(enabled=False), providers)
    log.store([""])
    telemetry.start()
    telemetry.stop()
    assert log.appended == []
    assert _samples(telemetry)["sluiceway_processor_batches_total"] == {(("signal", "traces"),): 1.0}


def _samples(telemetry: SelfTelemetry) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    body, _ = telemetry.exposition()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_the_prometheus_text_names_every_metric_as_the_catalogue_does(providers: Providers) -> None:
    telemetry = SelfTelemetry(CountingLog(providers).submit, TelemetrySettings(), providers)
    meter = providers.meters.get_meter(SCOPE)
    for spec in CATALOGUE.values():
        labels = dict.fromkeys(spec.labels, "x")
        if spec.kind is Kind.COUNTER:
            counter(spec.name, meter).add(1, labels)
        elif spec.kind is Kind.HISTOGRAM:
            histogram(spec.name, meter).record(1.0, labels)
        elif spec.kind in {Kind.OBSERVED_COUNTER, Kind.OBSERVED_GAUGE}:
            observe(spec.name, lambda labels=labels: [(1.0, labels)], meter)  # type: ignore[misc]
    expected = {
        name
        for spec in CATALOGUE.values()
        for name in (
            [f"{spec.name}_{part}" for part in ("bucket", "sum", "count")]
            if spec.kind is Kind.HISTOGRAM
            else [spec.name]
        )
    }
    assert set(_samples(telemetry)) - {"target_info"} == expected


def test_scrapes_at_the_same_time_do_not_mix(providers: Providers) -> None:
    log = CountingLog(providers)
    telemetry = _telemetry(providers, log)
    log.store([""])
    single, _ = telemetry.exposition()
    bodies: list[bytes] = []
    threads = [threading.Thread(target=lambda: bodies.append(telemetry.exposition()[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [single] * 8


@pytest.fixture
def reasons() -> dict[str, str]:
    return {}


@pytest.fixture
def url(providers: Providers, reasons: dict[str, str]) -> Iterator[str]:
    """The routes on a real server."""
    log = CountingLog(providers)
    log.store([""])
    telemetry = _telemetry(providers, log)
    checks = {name: (lambda name=name: reasons.get(name)) for name in ("log", "store")}
    app = Starlette(routes=routes(telemetry, Readiness(checks, max_age_s=0.0)))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none", loop="asyncio"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def _ask(url: str, method: str = "GET") -> tuple[int, Message, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_healthz_answers_as_long_as_the_process_does(url: str, reasons: dict[str, str]) -> None:
    reasons["store"] = "is away"
    status, _, body = _ask(f"{url}/healthz")
    assert (status, json.loads(body)) == (200, {"status": "alive"})


def test_readyz_answers_503_with_every_reason_and_200_when_there_is_none(url: str, reasons: dict[str, str]) -> None:
    assert _ask(f"{url}/readyz")[0] == 200
    reasons.update(store="is starting", log="the disk is full")
    status, _, body = _ask(f"{url}/readyz")
    assert status == 503
    assert json.loads(body) == {"status": "not ready", "reasons": {"store": "is starting", "log": "the disk is full"}}
    reasons.clear()
    status, _, body = _ask(f"{url}/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready"})


def test_metrics_is_served_as_prometheus_text_and_none_of_the_routes_is_kept_by_caches(url: str) -> None:
    _, headers, body = _ask(f"{url}/metrics")
    assert headers["content-type"].startswith("text/plain; version=")
    assert b'sluiceway_processor_batches_total{signal="traces"} 1.0' in body
    for path in ("metrics", "healthz", "readyz"):
        assert _ask(f"{url}/{path}")[1]["cache-control"] == "no-store"
    assert _ask(f"{url}/metrics", "POST")[0] == 405


def test_a_check_that_raises_is_not_ready() -> None:
    def broken() -> str | None:
        raise LogUnavailableError("the disk is full")

    assert Readiness({"log": broken}).reasons() == {"log": "LogUnavailableError: the disk is full"}


def test_readiness_is_asked_once_however_many_probe_it() -> None:
    asked = []
    readiness = Readiness({"store": lambda: asked.append(1)}, max_age_s=3600)
    for _ in range(10):
        assert readiness.reasons() == {}
    assert len(asked) == 1


def test_a_check_that_hangs_does_not_hold_the_probes() -> None:
    release, entered = threading.Event(), threading.Event()

    def hanging() -> str | None:
        entered.set()
        release.wait()
        return None

    readiness = Readiness({"log": hanging}, patience_s=0.01)
    first = threading.Thread(target=readiness.reasons)
    first.start()
    entered.wait()
    assert readiness.reasons() == {"checks": "have not answered for 0.01 s"}
    release.set()
    first.join()


def test_the_log_is_ready_when_the_receivers_are_open_and_it_took_the_last_commit() -> None:
    now = ReceiversReadiness(accepting=False, log_failure=None, compiled=True)
    check = log_check(lambda: now)
    assert check() == "the receivers are not open"
    now = ReceiversReadiness(accepting=True, log_failure="log: the disk is full", compiled=True)
    assert check() == "log: the disk is full"
    now = ReceiversReadiness(accepting=True, log_failure=None, compiled=False)
    assert check() is None


def test_the_store_is_ready_when_it_answers_its_ping(url: str) -> None:
    assert store_check(url)() == "the store answers 404 to a ping"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert store_check(there, timeout_s=0.05)() == "the store does not answer: no answer came in time"
    assert store_check(there)() == "the store does not answer: nothing listens there"


def test_the_decoder_is_ready_when_it_is_compiled() -> None:
    assert compiled_check(lambda: True)() is None
    assert "is being compiled" in str(compiled_check(lambda: False)())
