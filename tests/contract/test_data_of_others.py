"""Another user of the machine, beside a pipeline that works: it reads nothing of what is kept."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from schemas.private_files import walk
from tests.conftest import free_port
from tests.contract.test_up_and_demo import ROOT, TIMEOUT_S, wait_until

pytestmark = [
    pytest.mark.timeout(2 * TIMEOUT_S),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]
NOBODY = 65534
SECRET = "a secret that redaction would remove"
# In a process of its own, as somebody else: which of the paths on standard input can be listed or read.
LOOK = f"""
import json, os, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
seen = []
for path in json.load(sys.stdin):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
        seen.append(path)
    except OSError:
        pass
print(json.dumps(seen))
"""


def seen_by_nobody(paths: list[Path]) -> list[str]:
    """Of paths that somebody told it, those that another user can list or read."""
    looked = subprocess.run(
        [sys.executable, "-I", "-c", LOOK], input=json.dumps([str(path) for path in paths]), text=True,
        capture_output=True, check=True, cwd="/",
    )  # fmt: skip
    return list(json.loads(looked.stdout))


@contextmanager
def pipeline(folder: Path, umask: int) -> Iterator[int]:
    """`sluiceway up` with everything on, once a request is stored; yields the port that answers queries."""
    ports = {
        name: free_port() for name in ("INGEST__GRPC_PORT", "INGEST__HTTP_PORT", "STORE__HTTP_PORT", "VIEWER__PORT")
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")},
        **{f"SLUICEWAY_{name}": str(port) for name, port in ports.items()},
        "SLUICEWAY_DATA_DIR": str(folder / "data"),
        "SLUICEWAY_ALERTS__EVALUATE": "true",
        "PYTHONPATH": str(ROOT),
    }
    with (
        (folder / "up.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "sluiceway", "up"], env=environment, umask=umask, stdout=log, stderr=log, cwd=folder
        ) as up,
    ):
        try:
            wait_until(lambda: up.poll() is not None or _ready(ports["VIEWER__PORT"]))
            assert up.poll() is None, (folder / "up.log").read_text()
            request = ExportLogsServiceRequest()
            request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = SECRET
            urllib.request.urlopen(
                urllib.request.Request(
                    f"http://127.0.0.1:{ports['INGEST__HTTP_PORT']}/v1/logs",
                    request.SerializeToString(),
                    {"Content-Type": "application/x-protobuf"},
                )
            ).close()
            wait_until(lambda: _stored(ports["STORE__HTTP_PORT"]))
            yield ports["STORE__HTTP_PORT"]
        finally:
            up.terminate()
            up.wait(60)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stored(port: int) -> bool:
    ask = f"SELECT count() FROM otel.otel_logs WHERE Body = '{SECRET}'".encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", ask, timeout=5) as answer:
            return int(answer.read()) > 0
    except OSError:
        return False


def wide(folder: Path) -> list[tuple[str, str]]:
    return [
        (str(path), oct(found.st_mode & 0o7777))
        for path, found in walk(folder)
        if found.st_mode & 0o077 and (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode))
    ]


def test_another_user_reads_nothing_whatever_the_umask_of_the_start() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for umask in (0o000, 0o022):
            with pipeline(folder, umask):
                paths = [path for path, _ in walk(folder / "data")]
                kept = {path.name for path in paths}
                assert {"log.sqlite", "log.sqlite-wal", "incidents.sqlite", "store.log", "writer.secret"} <= kept
                assert any(path.read_bytes().find(SECRET.encode()) >= 0 for path in paths if path.is_file())
                # Somebody else can see that the folder is there, and nothing else.
                assert seen_by_nobody([folder, *paths]) == [str(folder)]
                assert wide(folder / "data") == []
            # As an earlier release left it.
            for path, found in walk(folder / "data"):
                if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
                    path.chmod(0o755 if path.is_dir() else 0o644)
            assert len(seen_by_nobody(paths)) > 100
