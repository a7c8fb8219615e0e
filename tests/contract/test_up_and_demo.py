"""`sluiceway up` and `sluiceway demo` as a person runs them: processes, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sluiceway.config import PREFIX
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
# The first start on a machine compiles the decoder.
TIMEOUT_S = 900
pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)


class Shell:
    """Runs `sluiceway` in a folder with free ports, and kills what is left at the end."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        (folder / "sluiceway.yaml").write_text(
            f"data_dir: {self.data}\ningest: {{grpc_port: {free_port()}, http_port: {free_port()}}}\n"
            f"store: {{http_port: {free_port()}}}\nviewer: {{port: {free_port()}}}\n"
        )
        self._folder = folder
        self._environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}
        self._environment["PYTHONPATH"] = str(ROOT)
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sluiceway", *arguments],
            cwd=self._folder, env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, out, err

    def pipeline_pid(self) -> int | None:
        """The process that holds the store's folder, if it lives."""
        try:
            pid = int((self.data / "store" / "lock").read_text())
            return pid if Path(f"/proc/{pid}").exists() else None
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        pid = self.pipeline_pid()
        for process in self._started:
            process.kill()
            process.communicate()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    running = Shell(tmp_path)
    try:
        yield running
    finally:
        running.close()


def wait_until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_demo_ends_by_itself_with_a_balanced_audit_of_all_that_it_sent(shell: Shell) -> None:
    code, out, err = shell.run("demo", "--seconds", "4")

    assert code == 0, err
    assert "rolls out: watch payment.Charge" in out
    sent = next(line for line in out.splitlines() if line.startswith("sent "))
    assert sent.split()[1] == sent.split()[-2], "every item was acked"
    assert out.splitlines()[-1].startswith("balanced: ")
    assert "IMBALANCED" not in out
    assert shell.pipeline_pid() is None


def test_ctrl_c_ends_the_demo_with_its_audit_and_the_pipeline_after_it(shell: Shell) -> None:
    demo = shell.start("demo")
    wait_until(shell.pipeline_pid)
    time.sleep(3)
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate(timeout=TIMEOUT_S)

    assert demo.returncode == 0, err
    assert out.splitlines()[-1].startswith("balanced: ")
    assert "Traceback" not in err
    assert shell.pipeline_pid() is None


def test_the_pipeline_ends_when_the_demo_is_killed(shell: Shell) -> None:
    demo = shell.start("demo")
    wait_until(shell.pipeline_pid)
    demo.kill()

    wait_until(lambda: shell.pipeline_pid() is None)


def test_up_runs_until_sigterm_and_refuses_a_second_start_on_its_folder(shell: Shell) -> None:
    up = shell.start("up")
    wait_until(shell.pipeline_pid)

    code, out, err = shell.run("up")
    assert (code, out) == (2, "")
    assert f"process {up.pid} " in err
    assert "Traceback" not in err

    wait_until(lambda: shell.run("audit", "--json")[0] == 0)
    assert json.loads(shell.run("audit", "--json")[1])["verdict"] == "balanced"
    assert shell.run("schema", "plan")[1] == "up to date\n"
    code, doctor, _ = shell.run("doctor")
    assert code == 0, doctor
    assert f"in use while a Sluiceway runs here (pid {up.pid})" in doctor
    threads = [int(task.name) for task in Path(f"/proc/{up.pid}/task").iterdir()]
    wait_until(lambda: len(os.sched_getaffinity(0)) == 1 or min(len(os.sched_getaffinity(tid)) for tid in threads) == 1)
    children = [int(pid) for tid in threads for pid in Path(f"/proc/{up.pid}/task/{tid}/children").read_text().split()]
    assert [os.sched_getaffinity(pid) for pid in children] == [os.sched_getaffinity(0)] * 2, "they run anywhere"

    up.send_signal(signal.SIGTERM)
    _, err = up.communicate(timeout=TIMEOUT_S)
    assert up.returncode == 0
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_refused_at_start_by_its_setting(shell: Shell, tmp_path: Path) -> None:
    text = (tmp_path / "sluiceway.yaml").read_text()
    port = int(text.split("http_port: ")[1].split("}")[0])
    with socket.create_server(("127.0.0.1", port)):
        code, _, err = shell.run("up")

    assert code == 2
    assert "http_port" in err.splitlines()[-1]
    assert str(port) in err.splitlines()[-1]
    assert "Traceback" not in err
