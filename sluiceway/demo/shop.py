"""The demo's load: a shop's instances, their traffic over a day, and the release that goes wrong."""

from __future__ import annotations

import logging
import math
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from schemas.errors import ConfigurationError
from schemas.signals import Signal
from sluiceway.demo.catalogue import BAD_RELEASE, ENTRIES, OPERATIONS, SERVICES
from sluiceway.demo.emit import Emitter
from sluiceway.demo.instance import Instance, Target
from sluiceway.demo.plan import Planner
from sluiceway.demo.rhythm import Rhythm
from sluiceway.demo.tally import Tally

_TICK_S = 0.05
_PROGRESS_S = 0.5
# A process that was suspended must not answer with a burst of everything it missed.
_LONGEST_CATCH_UP_S = 1.0
_STOP_TIMEOUT_S = 15.0
_RELEASED_SERVICE = OPERATIONS[BAD_RELEASE.operation].service


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Items are spans, data points and log records by signal.

    Attributes:
        elapsed_s: seconds of traffic so far.
        duration_s: seconds asked for; None runs until it is stopped.
        requests: requests to the shop so far.
        hour: the shop's hour of the day.
        acked: items that the pipeline acknowledged.
        lost: items that an exporter gave up on.
        released: instances that run the bad release; 0 before it.
    """

    elapsed_s: float
    duration_s: float | None
    requests: int
    hour: float
    acked: Mapping[Signal, int]
    lost: Mapping[Signal, int]
    released: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run sent, in items by signal.

    `made` = `acked` + `lost` + `open`. An item is lost when its exporter gave up, and open when it was dropped from a
    full queue or still under way when the time to stop was over. An exporter that retried after an answer it never saw
    may have delivered an item twice: OTLP knows no way to tell, so `acked` is a lower bound in that case.
    """

    requests: int
    elapsed_s: float
    made: Mapping[Signal, int]
    acked: Mapping[Signal, int]
    lost: Mapping[Signal, int]
    open: Mapping[Signal, int]

    @property
    def complete(self) -> bool:
        """Whether every item was acknowledged."""
        return dict(self.made) == dict(self.acked)


class Shop:
    """All instances, and the roll-out of the bad release."""

    def __init__(self, target: Target, tally: Tally, rng: random.Random) -> None:
        self._target, self._tally, self._rng = target, tally, rng
        self._replaced: list[Instance] = []
        self._running = {
            service.name: [self._start(service.name, service.version, n) for n in range(service.instances)]
            for service in SERVICES
        }

    def _start(self, service_name: str, version: str, ordinal: int) -> Instance:
        service = next(service for service in SERVICES if service.name == service_name)
        pod = f"{service_name}-{self._rng.getrandbits(36):09x}"
        return Instance(service, version=version, ordinal=ordinal, name=pod, target=self._target, tally=self._tally)

    def pick(self, service_name: str) -> Instance:
        """An instance of a service, as a load balancer would choose it."""
        return self._rng.choice(self._running[service_name])

    def instances(self) -> list[Instance]:
        """All that run now."""
        return [instance for running in self._running.values() for instance in running]

    def release(self, wanted: int) -> int:
        """Replace instances until `wanted` of them (or all) run the bad release; returns how many do."""
        running = self._running[_RELEASED_SERVICE]
        for index, old in enumerate(running[:wanted]):
            if old.version != BAD_RELEASE.version:
                running[index] = self._start(_RELEASED_SERVICE, BAD_RELEASE.version, index)
                self._replaced.append(old)
                old.begin_stop()
        return sum(instance.version == BAD_RELEASE.version for instance in running)

    def stop(self, timeout_s: float) -> None:
        """Flush and close all instances side by side, replaced ones included."""
        instances = self.instances() + self._replaced
        deadline_s = time.monotonic() + timeout_s
        for instance in instances:
            instance.begin_stop()
        for instance in instances:
            instance.join(deadline_s)


def _reachable(field: str, url: str) -> None:
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "", parts.port or 0)
        with socket.create_connection(address, timeout=3.0):
            return
    except (OSError, ValueError) as error:
        message = f"{field}: must name a listening receiver (is `sluiceway up` running?), received {url!r}: {error}"
        raise ConfigurationError(message) from error


@contextmanager
def _without_retries_in_the_log() -> Iterator[None]:
    """36 exporters that each announce every retry say nothing that the counts do not; their errors stay."""
    logger = logging.getLogger("opentelemetry.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _interrupts(halt: threading.Event) -> Iterator[None]:
    """Ctrl-C sets `halt` instead of cutting a trace in two, which would leave the counts wrong by it.

    Only while traffic runs: a second Ctrl-C, during the flush, ends the program as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, lambda *_: halt.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def run_demo(
    endpoint_grpc: str,
    endpoint_http: str,
    duration_s: float | None,
    rate_per_s: float,
    progress: Callable[[Progress], None],
    *,
    stop: threading.Event | None = None,
    seed: int | None = None,
    metric_interval_s: float = 5.0,
) -> Report:
    """Run the shop until `duration_s` of traffic are over, `stop` is set or Ctrl-C is pressed; then flush and count.

    Args:
        endpoint_grpc: OTLP over gRPC, such as http://127.0.0.1:4317.
        endpoint_http: OTLP over HTTP, such as http://127.0.0.1:4318.
        duration_s: seconds of traffic; None runs until stopped.
        rate_per_s: requests to the shop a second, the mean over a day; a request makes about 10 spans.
        progress: called twice a second from this thread.
        stop: set it to end the run early.
        seed: makes the drawn requests repeatable (not their times or ids).
        metric_interval_s: time between two exports of metrics.

    Raises:
        ConfigurationError: a value is out of range, or nothing listens at an endpoint.
    """
    for name, value in (
        ("rate_per_s", rate_per_s),
        ("duration_s", duration_s),
        ("metric_interval_s", metric_interval_s),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigurationError(f"demo.{name}: must be a finite number above 0, received {value!r}")
    _reachable("demo.endpoint_grpc", endpoint_grpc)
    _reachable("demo.endpoint_http", endpoint_http)
    with _without_retries_in_the_log():
        return _run(
            Target(endpoint_grpc, endpoint_http, metric_interval_s * 1000),
            duration_s,
            rate_per_s,
            progress,
            stop or threading.Event(),
            random.Random(seed),
        )


def _run(
    target: Target,
    duration_s: float | None,
    rate_per_s: float,
    progress: Callable[[Progress], None],
    halt: threading.Event,
    rng: random.Random,
) -> Report:
    tally = Tally()
    shop = Shop(target, tally, rng)
    rhythm = Rhythm.of(duration_s)
    planner = Planner(rng, shop.pick, lambda instance: instance.version)
    emitter = Emitter(rng, tally)
    entries, weights = list(ENTRIES), list(ENTRIES.values())
    began = ticked = reported = time.monotonic()
    requests = released = 0
    elapsed_s = due = 0.0

    def so_far() -> Progress:
        hour = rhythm.hour(elapsed_s)
        return Progress(elapsed_s, duration_s, requests, hour, dict(tally.acked), dict(tally.lost), released)

    with _interrupts(halt):
        while not halt.wait(_TICK_S):
            now = time.monotonic()
            elapsed_s = now - began
            if duration_s is not None and elapsed_s >= duration_s:
                break
            level = rhythm.level(elapsed_s)
            # Exponential gaps between requests are what makes a Poisson stream; `due` carries the rest over.
            due += rate_per_s * level * min(now - ticked, _LONGEST_CATCH_UP_S)
            ticked = now
            while due > 0:
                due -= rng.expovariate(1.0)
                root = planner.request(rng.choices(entries, weights)[0])
                # The request has just come to its end: no span may lie in the future.
                emitter.request(root, time.time_ns() - root.last_ns())
                requests += 1
            released = shop.release(rhythm.released(elapsed_s))
            if now - reported >= _PROGRESS_S:
                reported = now
                _look_busy(shop, level, rate_per_s)
                progress(so_far())
    elapsed_s = time.monotonic() - began
    shop.stop(_STOP_TIMEOUT_S)
    progress(so_far())
    return Report(requests, elapsed_s, dict(tally.made), dict(tally.acked), dict(tally.lost), tally.open())


def _look_busy(shop: Shop, level: float, rate_per_s: float) -> None:
    for instance in shop.instances():
        instance.load = level
        if instance.service.name == "frontend":
            instance.visitors.set(round(level * rate_per_s * 20), {"shop.country": "DE"})
