"""A process that has no descriptor left goes on: it neither ends nor spins, and answers when there is one again."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_OPEN_FILES = 128
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@contextmanager
def _victim(part: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "tests.faults.descriptor_victim", part, str(_OPEN_FILES)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        try:
            yield child, int(child.stdout.readline())
        finally:
            child.kill()


def _status(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={"Connection": "close", "Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _silent(stack: ExitStack, port: int, connections: int) -> None:
    for _ in range(connections):
        opened = stack.enter_context(socket.socket())
        opened.settimeout(30)
        opened.connect(("127.0.0.1", port))


def test_the_viewer_makes_room_when_no_descriptor_is_left() -> None:
    with _victim("viewer") as (child, port), ExitStack() as stack:
        _silent(stack, port, 2 * _OPEN_FILES)
        before_s = _cpu_s(child.pid)

        assert [_status(port, "GET", "/healthz") for _ in range(8)] == [200] * 8
        # A loop that is told of a connection over and over would take all the time that the answers took.
        assert _cpu_s(child.pid) - before_s < 2
        assert child.poll() is None
        child.kill()
        assert child.stderr
        told = child.stderr.read()
        assert told.count("connections that wait are closed") == 1
        assert "Traceback" not in told


@pytest.mark.parametrize("part", ["viewer", "receivers"])
def test_a_server_answers_again_when_descriptors_are_free_again(part: str) -> None:
    with _victim(part) as (child, port):
        with ExitStack() as stack:
            _silent(stack, port, 2 * _OPEN_FILES)
        asked = ("GET", "/healthz", 200) if part == "viewer" else ("POST", "/v1/traces", 200)

        assert _status(port, *asked[:2]) == asked[2]
        assert child.poll() is None
