"""The consumers of one program, from the moment that a batch can be written to their orderly end."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path

from processors.consume import Consumer, consumers
from processors.guard.budgets import Budgets
from processors.guard.guard import Policy
from processors.service_map.run import ServiceMap
from processors.settings import GuardSettings
from schemas.errors import ConfigurationError
from schemas.signals import Signal
from sluiceway import secret_files
from sluiceway.config import Config
from sluiceway.log_access import LogAccess
from sluiceway.store_access import StoreAccess

_log = logging.getLogger(__name__)
_LEAST_KEY_BYTES = 16


def policy(settings: GuardSettings) -> Policy:
    """What the settings want guarded.

    Raises:
        ConfigurationError: the file of the key cannot be read, others may read it too, or it holds too little.
    """
    budgets = Budgets(settings.metric_series, settings.service_series, settings.tenant_series)
    return Policy(settings.redaction, hash_key(settings.hash_key_file), budgets if settings.series_budgets else None)


def hash_key(file: Path | None) -> bytes:
    """The key in a file, b'' for none; raises ConfigurationError as `policy`."""
    if file is None:
        return b""
    key = secret_files.read(file, "guard.hash_key_file").strip()
    if len(key) < _LEAST_KEY_BYTES:
        raise ConfigurationError(
            f"guard.hash_key_file: must hold at least {_LEAST_KEY_BYTES} bytes; got {len(key)} in {file}"
        )
    return key


class Consuming:
    """Begins once the schema and the decoder are there; `stop` is called once, whether it began or not."""

    def __init__(self, log: LogAccess, store: StoreAccess, config: Config, signals: Collection[Signal]) -> None:
        self._log = log
        self._store = store
        self._settings = config.batch
        self._policy = policy(config.guard)
        self._signals = signals
        self._consumers: list[Consumer] = []
        self._service_map = ServiceMap(store.connect_writer, config.service_map, config.retention.traces_days)
        self._maps = config.service_map.enabled and Signal.TRACES in signals

    def begin(self) -> None:
        """Start a consumer for each signal, and what makes the service map of what they store."""
        self._consumers = consumers(self._log.reader, self._store.inserter, self._settings, self._signals, self._policy)
        for consumer in self._consumers:
            consumer.start()
        if self._maps:
            self._service_map.start()

    def stop(self, timeout_s: float) -> None:
        """End in order within twice `timeout_s`: one deadline for what waits, one for the batches under way.

        The embedded log is drained first: nobody else would store what it holds. From Kafka others go on.
        """
        self._service_map.begin_stop()
        if not self._log.on_kafka:
            self._drain(timeout_s)
        deadline_s = time.monotonic() + timeout_s
        for consumer in self._consumers:
            consumer.begin_stop()
        for consumer in self._consumers:
            if not consumer.stop(max(0.0, deadline_s - time.monotonic())):
                _log.warning("%s: a batch was under way; whoever reads it next repeats it", consumer.signal)
        self._service_map.stop(max(0.0, deadline_s - time.monotonic()))

    def trouble(self) -> str | None:
        """Why a consumer failed the last time or gave up; None while all work."""
        reasons = [
            f"{consumer.signal}: {consumer.stopped_for or consumer.failure}"
            for consumer in self._consumers
            if consumer.stopped_for or consumer.failure
        ]
        return "; ".join(reasons) or None

    def _drain(self, timeout_s: float) -> None:
        # One deadline for all of them: a store that is away must not cost the time-out once for each signal.
        deadline_s = time.monotonic() + timeout_s
        for consumer in self._consumers:
            consumer.begin_drain()
        for consumer in self._consumers:
            if not consumer.drain(max(0.0, deadline_s - time.monotonic())):
                _log.warning("%s: not all is stored yet; the log keeps it, the next start stores it", consumer.signal)
