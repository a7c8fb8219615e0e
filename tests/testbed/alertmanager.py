"""A real Alertmanager, and a pager that it notifies."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from tests.testbed.parts import MissingPartError, Part, free_ports, run

INSTALL = "an Alertmanager is missing; on Debian: apt-get install prometheus-alertmanager"
_START_TIMEOUT_S = 60


def _binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingPartError(INSTALL)
    return found


def check(configuration: Path) -> str:
    """What `amtool check-config` says; raises PartFailedError where it refuses the file."""
    return str(run([_binary("amtool"), "check-config", configuration], cwd=configuration.parent, timeout_s=30))


class Alertmanager:
    """A server with this configuration; also a context manager."""

    def __init__(self, folder: Path, configuration: Path) -> None:
        self._part = Part("alertmanager", folder)
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            _binary("prometheus-alertmanager"), f"--config.file={configuration}", f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        self._part.spawn(self._command)
        try:
            self._part.await_log("Listening on", 0, _START_TIMEOUT_S)
        except BaseException:
            self._part.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.stop()

    def alerts(self) -> list[dict[str, Any]]:
        """What it holds now."""
        with urlopen(f"{self.url}/api/v2/alerts", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


class Pager:
    """Takes webhook posts and keeps them; a team's receiver is a path of it. What it `refuses` it answers with 400."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _: False
        pager = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                post = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refused = pager.refuses(post)
                if not refused:
                    pager.posts.append((self.path, post))
                self.send_response(400 if refused else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
