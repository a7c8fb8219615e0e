"""The thread that keeps the service map settled, in every process that stores spans."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from processors.service_map.settle import Settler
from processors.settings import ServiceMapSettings
from schemas.errors import SluicewayError
from schemas.telemetry import counter, histogram

_log = logging.getLogger(__name__)
# Of the time, that settling may take: a tenth of a CPU, and inserts keep the rest.
_SHARE = 0.1


class ServiceMap:
    """Settles until `stop`. What fails is tried again at the next turn; nothing depends on it but the map.

    Args:
        connect: opens the writer's client.
        settings: how often, and the settler's bounds.
        kept_days: how long spans are kept.
    """

    def __init__(self, connect: Callable[[], Client], settings: ServiceMapSettings, kept_days: int) -> None:
        self._connect = connect
        self._settings = settings
        self._kept_days = kept_days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service-map", daemon=True)
        self._settled = counter("sluiceway_processor_map_minutes_total")
        self._took = histogram("sluiceway_processor_map_duration_seconds")

    def start(self) -> None:
        """Begin, after the schema is there."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Ask it to end after the statement that runs."""
        self._stopping.set()

    def stop(self, timeout_s: float) -> None:
        """Wait for its end. A statement that takes longer is left to the store: the next run makes it whole."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        client: Client | None = None
        settler: Settler | None = None
        failed = ""
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            began_s = time.monotonic()
            try:
                if settler is None:
                    client = self._connect()
                    settler = Settler(client, self._settings, self._kept_days)
                minutes = settler.settle(self._stopping.is_set)
                failed = ""
                took_s = time.monotonic() - began_s
                self._settled.add(minutes)
                self._took.record(took_s)
            except SluicewayError as error:
                took_s = time.monotonic() - began_s
                # Once, not at every turn of an outage, which the consumers report as well.
                if str(error) != failed:
                    failed = str(error)
                    _log.warning("the service map is not settled now: %s", error)
            # Several processes must not all ask at the same moment.
            interval_s = self._settings.interval_s * random.uniform(0.8, 1.2)  # noqa: S311
            wait_s = max(interval_s, took_s * (1 / _SHARE - 1))
        if client is not None:
            client.close()
