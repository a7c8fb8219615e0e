"""What a confined process can still do. It cannot be undone, so each test confines a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sluiceway.embedded.confine import landlock_version

ROOT = Path(__file__).parents[2]

CONFINED = """
import socket, subprocess, sys
from pathlib import Path
from sluiceway.embedded.confine import confine
own, other, allowed, taken = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def attempt(name, action):
    try:
        action()
    except PermissionError:
        print(name, "refused")
    else:
        print(name, "done")

print("confined", confine(writable=[own], readable=[other / "open"], ports=[allowed]))
attempt("write own", lambda: (own / "file").write_text("x"))
attempt("rename own", lambda: ((own / "a").mkdir(), (own / "file").rename(own / "a" / "file")))
attempt("read open", lambda: (other / "open" / "file").read_text())
attempt("write open", lambda: (other / "open" / "file").write_text("x"))
attempt("read other", lambda: (other / "file").read_text())
attempt("run", lambda: subprocess.run(["/bin/true"]))
attempt("listen", lambda: socket.create_server(("127.0.0.1", allowed)).close())
attempt("listen on any", lambda: socket.create_server(("127.0.0.1", 0)).close())
attempt("connect", lambda: socket.create_connection(("127.0.0.1", taken)).close())
"""


@pytest.mark.skipif(landlock_version() < 4, reason="this kernel's Landlock does not know of connections")
def test_a_confined_process_keeps_its_folders_and_ports_and_nothing_else(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    (other / "open").mkdir(parents=True)
    (other / "open" / "file").write_text("readable")
    (other / "file").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as somebody, socket.create_server(("127.0.0.1", 0)) as freed:
        taken, allowed = somebody.getsockname()[1], freed.getsockname()[1]
        freed.close()
        arguments = [str(own), str(other), str(allowed), str(taken)]
        answer = subprocess.run(
            [sys.executable, "-c", CONFINED, *arguments],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert answer.stdout.splitlines() == [
        "confined True",
        "write own done",
        "rename own done",
        "read open done",
        "write open refused",
        "read other refused",
        "run refused",
        "listen done",
        "listen on any refused",
        "connect refused",
    ]
