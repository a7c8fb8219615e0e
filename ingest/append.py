"""From checked requests to durable log records: large ones are split, then each takes the lane of its signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ingest.coalesce import Submitted
from ingest.lane import Lane, Withdrawable
from ingest.settings import IngestSettings
from ingest.split import split
from ingest.tally import Tally
from schemas.log import LogWriter
from schemas.signals import Signal


class Appender:
    """The only caller of `LogWriter.append`. `submit` is safe from any thread; `close` is called once.

    Where topics fail independently each signal has a lane of its own: one that stalls or fails holds up no other. A log
    that is one file has one lane, so that one fsync serves all signals.
    """

    def __init__(
        self,
        log: LogWriter,
        settings: IngestSettings,
        tally: Tally,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._max_items = settings.max_request_items
        self._clock_ns = clock_ns
        together: list[Sequence[Signal]] = [[signal] for signal in Signal] if log.independent_topics() else [[*Signal]]
        self._lanes = {
            signal: lane
            for signals in together
            for lane in [Lane(log, settings, tally, signals, clock=clock)]
            for signal in signals
        }

    @property
    def failure(self) -> str | None:
        """Why the log refuses commits; None when it takes them, be it those of some signals only.

        One signal that fails does not make the process unfit for the others: it is seen in the circuit's metrics.
        """
        lanes = self._each_lane()
        failing = [lane.failing_since for lane in lanes if lane.failing_since is not None]
        if not failing or any(lane.succeeded_at is not None and lane.succeeded_at > max(failing) for lane in lanes):
            return None
        return next((lane.failure for lane in lanes if lane.failure is not None), None)

    def submit(
        self,
        signal: Signal,
        tenant: str,
        body: bytes,
        items: int,
        rejected: int,
        charge: Callable[[int], None] = lambda _bytes: None,
    ) -> Future[None]:
        """Queue a checked request; the future resolves when the log holds all of it durably.

        It fails with LogUnavailableError when the log cannot take it; then nothing of it was acknowledged. Cancelling
        it withdraws the request unless its commit has begun. `charge` is told what memory splitting it takes, bytes.

        Raises:
            OverloadedError: from `charge`.
            TooLargeError: one item alone is over the log's record bound.
            LogUnavailableError: the log has failed several times in a row and is not asked now; nothing was queued.
            RetryableError: we are stopping.
        """
        # Asked each time: a log across a network learns its bound when it first answers.
        max_record_bytes = self._log.max_record_bytes()
        parts = split(signal, body, items, max_record_bytes, max_items=self._max_items, charge=charge)
        submitted = Submitted(
            signal, tenant, parts, rejected, len(body), self._clock_ns(), future=Withdrawable(parts)
        )  # fmt: skip
        self._lanes[signal].submit(submitted)
        return submitted.future

    def close(self, timeout_s: float | None = None) -> None:
        """Append what is queued, then end the threads. Blocks as long as the log does, or for `timeout_s`.

        What is still under way then has no client that waits; it ends when the log is closed.
        """
        for lane in self._each_lane():
            lane.begin_close()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        for lane in self._each_lane():
            lane.close(None if until_s is None else max(0.0, until_s - time.monotonic()))

    def _each_lane(self) -> list[Lane]:
        return list(dict.fromkeys(self._lanes.values()))
