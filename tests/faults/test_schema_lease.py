"""Several processes bring one schema up to date at once: one at a time does it, whatever happens to that one."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from processors import schema, schema_lease
from processors.schema_lease import SchemaLease
from processors.store_client import connect
from schemas.ddl import VERSION, definitions
from schemas.errors import StoreUnavailableError
from schemas.settings import RetentionSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.faults.pipeline import ROOT, TIMEOUT_S, wait_until
from tests.testbed.parts import freeze

NUMBER = itertools.count(1)
DEFAULT = RetentionSettings()
# Far over a pause and a statement on a busy machine, so that only the dead lose it.
LEASE_S = 6.0


@pytest.fixture(scope="module")
def client(store: EmbeddedStore) -> Iterator[Client]:
    made = connect(store.url, user=store.writer_user, password=store.writer_password, database=None)
    yield made
    made.close()


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """A database that does not exist yet."""
    made = f"lease_{next(NUMBER)}"
    yield made
    client.command(f"DROP DATABASE IF EXISTS {made} SYNC")


@dataclass(frozen=True)
class Note:
    at_ns: int
    pid: int
    edge: str
    what: str


class Appliers:
    """Processes that apply the schema of one database, started and waiting."""

    def __init__(self, store: EmbeddedStore, name: str, folder: Path, count: int) -> None:
        self.journal = folder / "journal"
        secret = folder / "secret"
        secret.write_text(store.writer_password)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.schema_applier", store.url, str(secret), name, str(self.journal),
                 str(LEASE_S)],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]  # fmt: skip
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def begin(self) -> None:
        """Let all go on at once."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def notes(self) -> list[Note]:
        """What the journal holds so far."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines()
        return [Note(int(at), int(pid), edge, what) for at, pid, edge, what in (line.split("\t") for line in lines)]

    def await_statements(self, count: int) -> int:
        """Wait until so many statements were finished; the process id of the one that runs them."""
        wait_until(lambda: sum(note.edge == "end" for note in self.notes()) >= count, f"{count} statements")
        return self.notes()[-1].pid

    def steps(self) -> list[int]:
        """Wait for the end of all; the steps that each one took which was not killed."""
        taken = []
        for process in self.processes:
            said, _ = process.communicate(timeout=TIMEOUT_S)
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, said
                taken.append(int(said))
        return taken


def overlaps(notes: list[Note]) -> list[tuple[Note, Note]]:
    """Statements of two processes that ran at the same time."""
    open_since: dict[int, Note] = {}
    found = []
    for note in sorted(notes, key=lambda each: each.at_ns):
        if note.edge == "end":
            open_since.pop(note.pid, None)
            continue
        found += [(other, note) for pid, other in open_since.items() if pid != note.pid]
        open_since[note.pid] = note
    return found


def versions(client: Client, name: str) -> list[tuple[int, int]]:
    return [
        (version, len(statements))
        for version, statements in client.query(
            f"SELECT Version, Statements FROM {name}.schema_versions ORDER BY AppliedAt"
        ).result_rows
    ]


def test_of_five_that_start_at_once_one_applies_and_records_and_all_end_up_ready(
    store: EmbeddedStore, client: Client, name: str, tmp_path: Path
) -> None:
    appliers = Appliers(store, name, tmp_path, 5)
    appliers.begin()
    total = len(definitions(name, DEFAULT))

    assert sorted(appliers.steps()) == [0, 0, 0, 0, total]
    assert len({note.pid for note in appliers.notes()}) == 1
    assert versions(client, name) == [(VERSION, total)]
    assert schema.plan(client, name, DEFAULT) == []


def test_where_the_leader_is_killed_one_other_goes_on(
    store: EmbeddedStore, client: Client, name: str, tmp_path: Path
) -> None:
    appliers = Appliers(store, name, tmp_path, 5)
    appliers.begin()
    leader = appliers.await_statements(4)
    os.kill(leader, signal.SIGKILL)
    steps = appliers.steps()
    notes = appliers.notes()

    assert overlaps([note for note in notes if note.pid != leader]) == []
    followers = {note.pid for note in notes} - {leader}
    assert len(followers) == 1
    last = max(note.at_ns for note in notes if note.pid == leader)
    assert min(note.at_ns for note in notes if note.pid in followers) > last
    taken = [count for count in steps if count]
    assert len(steps) == 4
    assert len(taken) == 1
    # The leader's record went with it; the statement that it died in is the follower's again, or was carried out.
    assert versions(client, name) == [(VERSION, taken[0])]
    done = sum(note.pid == leader and note.edge == "end" for note in notes)
    assert taken[0] in (len(definitions(name, DEFAULT)) - done, len(definitions(name, DEFAULT)) - done - 1)
    assert schema.plan(client, name, DEFAULT) == []


def test_a_leader_that_was_stopped_past_its_lease_begins_no_further_statement(
    store: EmbeddedStore, client: Client, name: str, tmp_path: Path
) -> None:
    appliers = Appliers(store, name, tmp_path, 3)
    appliers.begin()
    leader = appliers.await_statements(4)
    freeze(leader)
    try:
        wait_until(lambda: schema.is_current(client, name, DEFAULT), "another to go on")
        before = {note for note in appliers.notes() if note.pid == leader}
    finally:
        os.kill(leader, signal.SIGCONT)
    for process in appliers.processes:
        process.wait(TIMEOUT_S)
    after = {note for note in appliers.notes() if note.pid == leader} - before

    # What was under way may end; it is additive, and the other did it as well.
    assert {note.edge for note in after} <= {"end"}
    assert len(versions(client, name)) == 1
    codes = {process.pid: process.returncode for process in appliers.processes}
    assert [code for pid, code in codes.items() if pid != leader] == [0, 0]
    for process in appliers.processes:
        process.communicate()


def lease(client: Client, name: str, lease_s: float = LEASE_S) -> SchemaLease:
    return SchemaLease(client, name, lease_s=lease_s)


def test_a_lease_is_held_by_one_until_released(client: Client, name: str) -> None:
    schema.create_database(client, name)
    first, second = lease(client, name), lease(client, name)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.renew()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    # Late, and without effect on whoever holds it.
    first.release()
    second.renew()
    assert not first.try_acquire()


def test_an_expired_lease_goes_to_one_and_its_holder_is_told(client: Client, name: str) -> None:
    schema.create_database(client, name)
    first = lease(client, name, 0.2)
    assert first.try_acquire()
    time.sleep(0.3)
    others = [lease(client, name) for _ in range(3)]
    assert [other.try_acquire() for other in others] == [True, False, False]
    with pytest.raises(StoreUnavailableError, match="taken the lease over"):
        first.confirm()


def test_a_lease_of_a_clock_that_was_ahead_is_given_up_when_nobody_renews_it(client: Client, name: str) -> None:
    schema.create_database(client, name)
    hour_ms = 3_600_000
    now_ms = client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0]
    client.command(
        f"CREATE TABLE {name}.schema_lease (`lease` UInt8, `dead until {now_ms + hour_ms}` UInt8) ENGINE = Null"
    )
    waiting = lease(client, name, 0.5)
    assert not waiting.try_acquire()
    time.sleep(1.1)
    assert waiting.try_acquire()


def test_waiting_for_a_leader_can_be_given_up(client: Client, name: str) -> None:
    schema.create_database(client, name)
    assert lease(client, name).try_acquire()
    asked = itertools.count()
    assert schema_lease.apply_alone(client, name, DEFAULT, stopping=lambda: next(asked) == 3) == []
    assert len(schema.plan(client, name, DEFAULT)) == len(definitions(name, DEFAULT))
