"""A ClickHouse server in a process tree of its own, known to the test by its URL, a user and a password file only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from schemas.settings import StoreSettings
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.users import WRITER
from sluiceway.store_access import StoreAccess
from tests.conftest import free_port
from tests.faults.pipeline import TIMEOUT_S, wait_until

ROOT = Path(__file__).resolve().parents[1]
# Ends with its standard input, so with the test however that ends.
_SERVE = """
import sys
from pathlib import Path
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
# A proof reads every item that was ever sent, on a machine that may be busy.
settings = StoreSettings(http_port=int(sys.argv[2]), max_memory_bytes=1 << 30, reader_max_execution_s=600)
with EmbeddedStore(Path(sys.argv[1]), settings):
    sys.stdin.read()
"""


class RemoteStore:
    """A server on a port of its own, to be killed and started again; also a context manager that starts and stops it.

    Attributes:
        url: of its HTTP interface.
        password_file: holds the writer's password.
    """

    user = WRITER

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.password_file = StoreFolder(folder).secret
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(self._folder), str(self.port)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        wait_until(self._answers, f"a store at {self.url}")

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.communicate(timeout=TIMEOUT_S)
            self._process = None

    def kill(self) -> None:
        """SIGKILL to its parent; the kernel ends the server with it."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=TIMEOUT_S)
        self._process = None
        wait_until(lambda: not self._answers(), "the end of the store")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def settings(self, **others: Any) -> StoreSettings:
        """What an operator would write to use it."""
        given = {"url": self.url, "user": self.user, "password_file": self.password_file, "reader_user": "default"}
        return StoreSettings.model_validate({**given, **others})

    def access(self, **others: Any) -> StoreAccess:
        """Connections to it."""
        return StoreAccess(self.settings(**others), Path("/nowhere"))

    def environment(self, **others: object) -> Mapping[str, str]:
        """The settings as environment variables."""
        given = self.settings(**others).model_dump(exclude_unset=True)
        return {f"SLUICEWAY_STORE__{name.upper()}": str(value) for name, value in given.items()}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
