"""The store child through its life: killed, orphaned, fought over, stopped; what it acknowledged stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from processors.store_client import connect, store_errors
from schemas.errors import ConfigurationError, PermanentError, StoreUnavailableError
from schemas.settings import StoreSettings
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore, State
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
COLUMNS = "(Number UInt64) ENGINE = MergeTree ORDER BY Number"
TABLE = f"CREATE TABLE kept {COLUMNS} SETTINGS non_replicated_deduplication_window = 100"
SUPERVISOR = """
import sys, time
from pathlib import Path
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]), StoreSettings(http_port=int(sys.argv[2])))
store.start()
print(store.pid, flush=True)
time.sleep(600)
"""


def wait_until(happened: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


def exists(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def settings() -> StoreSettings:
    return StoreSettings(http_port=free_port())


@contextlib.contextmanager
def supervisor(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that runs a store; yields it and the pid of its child."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_a_killed_child_comes_back_with_its_rows_and_its_deduplication_window(
    tmp_path: Path, settings: StoreSettings
) -> None:
    with EmbeddedStore(tmp_path, settings) as store:
        client = connect(store.url, user=store.writer_user, password=store.writer_password, database=store.database)
        client.command(TABLE)
        insert = "INSERT INTO kept SELECT number FROM numbers(1000)"
        client.command(insert, settings={"insert_deduplication_token": "first"})

        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        wait_until(lambda: store.restarts == 1 and store.alive, "restart after SIGKILL")
        assert store.last_exit == "signal 9"
        client.command(insert, settings={"insert_deduplication_token": "first"})
        assert client.query("SELECT count(), uniqExact(Number) FROM kept").result_rows == [(1000, 1000)]

        # Somebody with the password may stop the listener; then the supervisor starts a new child.
        with contextlib.suppress(StoreUnavailableError, ClickHouseError):
            client.command("SYSTEM STOP LISTEN HTTP")
        wait_until(lambda: store.restarts == 2 and store.alive, "restart after the listener closed")
        client.command(insert, settings={"insert_deduplication_token": "second"})
        assert client.query("SELECT count() FROM kept").result_rows == [(2000,)]
        client.close()
        child = store.pid
    assert store.state is State.STOPPED
    assert not store.alive
    assert child is not None
    assert not exists(child)

    # A second start in the same folder, by the same object or another, finds everything.
    with EmbeddedStore(tmp_path, settings) as again:
        assert again.writer_password == store.writer_password
        client = connect(again.url, database=again.database)
        assert client.query("SELECT count() FROM kept").result_rows == [(2000,)]
        client.close()


def test_a_child_killed_before_it_ever_answered_is_started_again(tmp_path: Path, settings: StoreSettings) -> None:
    store = EmbeddedStore(tmp_path, settings)
    killed: list[int] = []

    def kill_while_it_starts() -> None:
        wait_until(lambda: store.state is State.STARTING and store.pid is not None, "a child that starts")
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        killed.append(store.pid)

    killer = threading.Thread(target=kill_while_it_starts)
    killer.start()
    with store:
        killer.join()
        assert killed
        assert (store.alive, store.restarts, store.last_exit) == (True, 1, "signal 9")


def test_a_child_dies_with_a_parent_that_was_killed_and_the_next_parent_takes_over(tmp_path: Path) -> None:
    port = free_port()
    with supervisor(tmp_path, port) as (parent, child):
        parent.kill()
        parent.wait()
        wait_until(lambda: not exists(child), "end of the orphaned child")
    with EmbeddedStore(tmp_path, StoreSettings(http_port=port)) as store:
        with urllib.request.urlopen(f"{store.url}/ping", timeout=10) as answer:
            assert answer.read() == b"Ok.\n"
        assert (store.state, store.restarts) == (State.READY, 0)


def test_a_second_instance_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with supervisor(tmp_path, free_port()) as (parent, child):
        second = EmbeddedStore(tmp_path, StoreSettings(http_port=free_port()))
        with pytest.raises(ConfigurationError) as refused:
            second.start()
        assert f"received {tmp_path}" in str(refused.value)
        assert f"the process with pid {parent.pid} uses" in str(refused.value)
        assert exists(child)
        second.stop()


def test_a_store_waits_for_an_engine_that_still_uses_its_folder(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path)
    folder.create()
    take = "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)"
    hold = f"{take}; print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", hold, folder.engine_lock], stdout=subprocess.PIPE) as predecessor:
        try:
            assert predecessor.stdout is not None
            predecessor.stdout.readline()
            refused = EmbeddedStore(tmp_path, StoreSettings(http_port=free_port(), stop_timeout_s=0.2))
            with pytest.raises(ConfigurationError, match="must not be in use by another engine"):
                refused.start()
        finally:
            predecessor.kill()


def test_a_child_that_cannot_start_says_why(tmp_path: Path, settings: StoreSettings) -> None:
    (tmp_path / "data" / "metadata").mkdir(parents=True)
    (tmp_path / "data" / "metadata" / "entry.sql").write_text("this is no statement")
    # Rows of a table of this name: what defines it is not given up.
    (tmp_path / "data" / "data" / "entry" / "pipe").mkdir(parents=True)
    store = EmbeddedStore(tmp_path, settings)
    with pytest.raises(StoreUnavailableError, match=r"(?s)could not be prepared \(exit 1\): .*SYNTAX_ERROR"):
        store.start()
    assert (store.state, store.pid) == (State.STOPPED, None)


def test_a_binary_that_is_none_is_refused(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, StoreSettings(http_port=free_port(), binary=tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"store\.binary: must be an executable file"):
        store.start()


def test_the_clients_errors_say_whether_another_try_can_help(store: EmbeddedStore) -> None:
    with pytest.raises(StoreUnavailableError, match="store: "):
        connect(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError, match="AUTHENTICATION_FAILED"):
        connect(store.url, user=store.writer_user, password="wrong")
    client = connect(store.url, user=store.writer_user, password=store.writer_password, database=store.database)
    client.command("CREATE TABLE errors_seen (Number UInt64) ENGINE = MergeTree ORDER BY Number")
    for body, columns in ((b"not native", ["Number"]), (b"", ["Absent"])):
        with pytest.raises(PermanentError), store_errors():
            client.raw_insert("errors_seen", columns, body, fmt="Native")
    with pytest.raises(StoreUnavailableError, match="UNKNOWN_TABLE"), store_errors():
        client.raw_insert("absent", ["Number"], b"", fmt="Native")
    client.command("DROP TABLE errors_seen SYNC")
    client.close()
