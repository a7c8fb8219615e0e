"""Make the edges of the service map from stored spans: any process may, at any moment, as often as it likes.

A minute's edges are a function of the spans that are stored. Whoever makes them again later sees all spans of before
and maybe more, so no figure of a cell ever falls, and the table keeps the largest (`service_edges_*`). That is why a
repeated, interrupted, late or concurrent run does no harm, and none has to know of another (docs/service-map.md,
docs/decisions/0013-a-map-that-may-be-made-twice.md).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from clickhouse_connect.driver.client import Client

from processors.settings import ServiceMapSettings
from processors.store_client import store_errors

# A child span may begin before its parent by the difference of two clocks; the pairs' SQL looks a minute ahead.
_MINUTE_S = 60
# What lies between two minutes this near is read for either of them anyway, by the window of calls.
_GAP_S = 5 * _MINUTE_S
# Up to so many spans a minute is cheap enough to be looked at while it fills.
_FILLING_SPANS = 100_000
# Addresses that one statement asks about; the rest have the next turn.
_ADDRESSES = 10_000
# Minutes of one look at the store, newest first.
_MINUTES = 60
# Within the whole retention spans arrive seldom; within these hours always.
_RECENT_S = 2 * 3600
WHOLE_EVERY_S = 600.0


class Settler:
    """Settles the service map of one database through one client; used by one thread.

    Args:
        client: the writer's, with our database as its own.
        settings: windows and bounds.
        kept_days: how long spans are kept: older minutes are left as they are.
        whole_every_s: how often all of that time is looked at for late spans, seconds; the last two hours always are.
    """

    def __init__(
        self, client: Client, settings: ServiceMapSettings, kept_days: int, *, whole_every_s: float = WHOLE_EVERY_S
    ) -> None:
        self._client = client
        self._settings = settings
        self._kept_s = kept_days * 86_400
        self._whole_every_s = whole_every_s
        self._whole_at_s = 0.0
        # Minutes whose spans were removed from the store: only not to make the same edges again for ever.
        self._short: dict[int, tuple[int, int]] = {}

    def settle(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Settle every minute that got spans since it was settled, newest first and once; returns how many there were.

        Raises:
            StoreUnavailableError, PermanentError: the store does not do it now; what was settled before stays.
        """
        settings = self._settings
        whole = time.monotonic() >= self._whole_at_s
        since_s = int(time.time()) - (self._kept_s if whole else min(self._kept_s, _RECENT_S))
        done: set[int] = set()
        made = 0
        while not stopping():
            minutes = self._unsettled(since_s)
            if minutes.keys() <= done:
                if whole:
                    self._whole_at_s = time.monotonic() + self._whole_every_s
                break
            run = _run({minute: spans for minute, spans in minutes.items() if minute not in done}, settings.run_spans)
            made += self._settle(run)
            done |= run.keys()
        return made

    def _unsettled(self, since_s: int) -> dict[int, int]:
        """Minutes in Unix seconds, newest first, and their spans."""
        found = self._ask(
            "unsettled",
            since_s=since_s,
            interval_ms=int(self._settings.interval_s * 1000),
            filling_spans=_FILLING_SPANS,
            limit=_MINUTES,
        )
        return {int(minute): int(spans) for minute, spans in found}

    def _settle(self, run: Mapping[int, int]) -> int:
        """How many minutes got their edges."""
        first_s, end_s = min(run), max(run) + _MINUTE_S
        # Counted before the edges are made, which then saw these spans at least.
        stored = {int(minute): int(spans) for minute, spans in self._ask("stored", from_s=first_s, to_s=end_s)}
        counted = {minute: min(spans, stored.get(minute, 0)) for minute, spans in run.items()}
        known = {minute: (spans, counted[minute]) for minute, spans in run.items()}
        makes = any(self._short.get(minute) != pair for minute, pair in known.items())
        if makes:
            self._make_edges(first_s, end_s)
        self._short = {**self._short, **{m: pair for m, pair in known.items() if pair[1] < pair[0]}}
        self._do("settled", minutes=list(counted), spans=list(counted.values()))
        return len(run) if makes else 0

    def _make_edges(self, first_s: int, end_s: int) -> None:
        settings = self._settings
        self._do("peers", from_s=first_s, to_s=end_s)
        # Whose other half may have come in these minutes.
        from_s = first_s - _MINUTE_S
        pairs: Sequence[tuple[str, list[str], float]] = (
            ("call", ["Client", "Producer"], settings.call_window_s),
            ("message", ["Producer", "Client"], settings.message_window_s),
        )
        for kind, caller_kinds, window in pairs:
            window_s = int(window) // _MINUTE_S * _MINUTE_S
            to_s = end_s + window_s
            self._do("pairs", kind=kind, caller_kinds=caller_kinds, window_s=window_s, from_s=from_s, to_s=to_s)
            if kind == "call":
                self._learn_addresses(window_s, from_s, to_s)
        self._do("hours", from_s=from_s, to_s=end_s + int(max(settings.call_window_s, settings.message_window_s)))

    def _learn_addresses(self, window_s: int, from_s: int, to_s: int) -> None:
        # Of calls that a Server span in these minutes may answer.
        unknown = self._ask("unknown", from_s=from_s - window_s, to_s=to_s + _MINUTE_S, limit=_ADDRESSES)
        if unknown:
            addresses = [str(address) for (address,) in unknown]
            self._do("addresses", addresses=addresses, window_s=window_s, from_s=from_s, to_s=to_s)

    def _ask(self, name: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        with store_errors():
            return self._client.query(_sql(name), parameters=parameters, settings=self._bounds()).result_rows

    def _do(self, name: str, **parameters: Any) -> None:
        with store_errors():
            self._client.command(_sql(name), parameters=parameters, settings=self._bounds())

    def _bounds(self) -> dict[str, Any]:
        memory = self._settings.max_memory_bytes
        return {
            # Inserts come first: one thread, and what does not fit into memory goes to the disk.
            "max_threads": 1,
            "max_insert_threads": 1,
            "max_memory_usage": memory,
            "max_bytes_before_external_group_by": memory // 4,
            "join_algorithm": "grace_hash",
            "max_bytes_in_join": memory // 4,
            "max_execution_time": 0,
        }


def _run(minutes: Mapping[int, int], spans: int) -> dict[int, int]:
    """Minutes back from the newest to the first wide gap, at most so many spans but one minute at least."""
    run: dict[int, int] = {}
    for minute in sorted(minutes, reverse=True):
        if run and (min(run) - minute > _GAP_S or sum(run.values()) + minutes[minute] > spans):
            break
        run[minute] = minutes[minute]
    return run


@functools.cache
def _sql(name: str) -> str:
    files = resources.files(__package__)
    text = files.joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("-- include: address.sql", files.joinpath("address.sql").read_text(encoding="utf-8").rstrip())
