"""What must be done before the first batch: bring the schema up to date, and have the decoder compiled."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from processors import schema_lease, warm_up
from schemas.errors import SluicewayError
from schemas.jit import whole_marker
from sluiceway.config import Config
from sluiceway.store_access import StoreAccess

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


class Preparation:
    """Runs once, beside the receivers, and calls `then` when a batch can be written.

    `store_started` says whether it is worth asking the store, where it is ours to start.

    Attributes:
        compiled: whether the decoder can run.
    """

    def __init__(
        self,
        config: Config,
        store: StoreAccess,
        then: Callable[[], None],
        say: Callable[[str], None],
        *,
        store_started: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._store = store
        self._store_started = store_started
        self._then = then
        self._say = say
        self._stopping = threading.Event()
        self._compiler: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)
        self.compiled = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End early, if it still runs."""
        self._stopping.set()
        if self._compiler is not None and self._compiler.poll() is None:
            self._compiler.kill()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            # The schema first: questions may be asked while the decoder is still compiled.
            self._apply_schema()
            self._compile()
            if not self._stopping.is_set():
                self._then()
        except Exception:  # noqa: BLE001  a thread that ended silently would look like an idle pipeline
            _log.exception("nothing is stored until this is mended; what arrives is kept in the log")

    def _compile(self) -> None:
        # Says that the cache is whole: an interrupted compilation is taken up again.
        if not whole_marker().exists():
            self._compile_apart()
            if self._stopping.is_set():
                return
        for _ in warm_up.stages():
            if self._stopping.is_set():
                return
        self.compiled = True

    def _compile_apart(self) -> None:
        # In a process of its own: the compiler would hold this one's interpreter lock, and the receivers would stall.
        started_s = time.monotonic()
        self._say("compiling the decoder (once; requests are acknowledged meanwhile)")
        self._compiler = subprocess.Popen(
            [sys.executable, "-m", "processors.warm_up"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        with self._compiler as compiler:
            for line in compiler.stdout or ():
                self._say(f"compiled {line.strip()} after {time.monotonic() - started_s:.0f} s")
        if compiler.returncode and not self._stopping.is_set():
            _log.warning("the compiler ended with %d; compiling in this process", compiler.returncode)

    def _apply_schema(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._store_started():
                    self._stopping.wait(0.05)
                    continue
                client = self._store.connect_for_schema()
                try:
                    steps = schema_lease.apply_alone(
                        client, self._store.database, self._config.retention, stopping=self._stopping.is_set
                    )
                finally:
                    client.close()
                if steps:
                    self._say(f"schema: {len(steps)} statements applied")
                return
            except SluicewayError as error:
                _log.warning("the schema is not applied yet: %s", error)
                self._stopping.wait(_RETRY_S)
