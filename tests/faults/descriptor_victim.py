"""A viewer or receivers, with probes, in a process that may open few files; ends when its standard input closes.

Usage: descriptor_victim.py viewer|receivers OPEN_FILES. Prints the port. The bounds on connections are far above the
limit, so that it is reached.
"""

from __future__ import annotations

import logging
import resource
import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dashboards.settings import ViewerSettings
from dashboards.viewer.serve import AppServer
from ingest.serve import Receivers
from ingest.settings import IngestSettings
from schemas.settings import RetentionSettings
from tests.memory_log import MemoryLog


async def alive(_request: Request) -> Response:
    """A probe's answer."""
    return PlainTextResponse("alive")


def main(part: str, open_files: int) -> None:
    """Serve until standard input ends."""
    logging.basicConfig(stream=sys.stderr)
    if part == "viewer":
        settings = ViewerSettings(port=0, max_connections=4096, max_connections_per_peer=4096, header_timeout_s=600)
        server = AppServer(settings, lambda: Starlette(routes=[Route("/healthz", alive)]), exempt=["/healthz"])
        server.start()
        print(server.url.rpartition(":")[2], flush=True)
    else:
        receivers = Receivers(
            MemoryLog(),
            IngestSettings(grpc_port=0, http_port=0, max_connections=4096, header_timeout_s=600),
            RetentionSettings(),
            listen_beyond_loopback=False,
        )
        receivers.start()
        print(receivers.http_port, flush=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
