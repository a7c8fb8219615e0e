"""To whom a connection to the gate is counted; the oracle is the kernel's own table in /proc."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from sluiceway.gate import callers
from sluiceway.gate.callers import caller_of

HOSTS = ["127.0.0.1", "::1"]
CONNECT = """
import encodings.idna, os, socket, sys
os.setuid(int(sys.argv[3]))
socket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(1)
"""


def _listening(host: str) -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


@pytest.mark.skipif(sys.platform != "linux", reason="the address is all that other systems tell")
@pytest.mark.parametrize("host", HOSTS)
def test_a_user_of_this_machine_is_known_by_its_id(host: str) -> None:
    # Only root can be somebody else, too.
    somebody = 65534 if os.getuid() == 0 else os.getuid()
    with _listening(host) as listening:
        port = listening.getsockname()[1]
        with subprocess.Popen([sys.executable, "-I", "-S", "-c", CONNECT, host, str(port), str(somebody)]) as child:
            served, _ = listening.accept()
            with served:
                ends = served.getpeername(), served.getsockname()
                listed = callers._listed(ends[0][1], ends[1][1], callers._TABLES[6 if ":" in host else 4])
                assert caller_of(*ends) == listed == somebody
            assert child.wait(20) == 0


@pytest.mark.parametrize("host", HOSTS)
def test_one_that_is_gone_is_known_by_its_address(host: str) -> None:
    with _listening(host) as listening:
        own = listening.getsockname()
        assert caller_of((host, own[1] ^ 1), own) == host


def test_a_foreign_peer_is_known_by_its_address() -> None:
    assert caller_of(("192.0.2.7", 1), ("192.0.2.1", 2)) == "192.0.2.7"


@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_without_sock_diag_the_tables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_kernel_answers", lambda: False)
    with _listening("127.0.0.1") as listening, socket.create_connection(listening.getsockname()) as client:
        assert caller_of(client.getsockname(), client.getpeername()) == os.getuid()
