"""Whoever reaches the reading port changes nothing, reads nothing else, and holds nothing.

The attacks are generated from the engine: a later one's table functions, settings, functions, tables, statements and
formats are attacked without a change here. Before and after each kind every file of the store's folder is hashed, but
those of `logs/`.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from processors.store_client import connect
from tests.reader.attack import HANG_S, Attack, Attacker, Must, raw_answer
from tests.reader.attacked_store import (
    FILE_MARKER,
    LOG_MARKER,
    PRIVATE_MARKER,
    PRIVATE_TABLE,
    ROWS,
    AttackedStore,
    settled_snapshot,
    snapshot,
)
from tests.reader.hostile_requests import external_tables, hosts, parameters, paths_and_methods, smuggled, users
from tests.reader.hostile_settings import (
    DANGEROUS,
    LEFT_OPEN,
    MAY_BE_CHANGED,
    TEXTS,
    Setting,
    changed,
    settings_beyond_bounds,
    settings_of,
    settings_of_formats,
    settings_one_by_one,
    settings_that_are_sql,
)
from tests.reader.hostile_statements import statements_of_engine
from tests.reader.listener import Listener
from tests.reader.targets import Targets
from tests.real_parts import skip_where_missing
from tests.testbed import clickhouse_clients

# Kinds of attacks that are played by default; those of SLOW are another form of some of them.
KINDS = (
    "table functions",
    "disguised table functions",
    "functions of files",
    "functions",
    "functions without parentheses",
    "tables",
    "keywords",
    "privileges",
    "statements",
    "settings of the URL",
    "settings of the clause",
    "settings that are SQL",
    "settings of formats",
    "settings beyond bounds",
    "users",
    "parameters",
    "external tables",
    "paths and methods",
    "hosts and origins",
)
SLOW = ("functions, all shapes", "settings by SET")


@dataclass(frozen=True)
class Matrix:
    """What is attacked, with what, and by whom."""

    attacked: AttackedStore
    targets: Targets
    listener: Listener
    secrets: tuple[str, ...]
    kinds: dict[str, list[Attack]]
    settings: list[Setting]


@pytest.fixture(scope="module")
def matrix(attacked_store: AttackedStore) -> Iterator[Matrix]:
    folder, writer = attacked_store.store.folder, attacked_store.writer
    user_files = folder / "data" / "user_files"
    user_files.mkdir(exist_ok=True)
    (user_files / "marker.txt").write_text(FILE_MARKER)
    part = next(path for path in sorted(folder.rglob("data.*")) if path.suffix in (".bin", ".cmrk4", ".cmrk3"))
    with Listener() as listener:
        targets = Targets(
            part=part,
            evil=folder / "data" / "metadata" / "evil.sql",
            readable=(
                user_files / "marker.txt", folder / "server" / "users.xml", folder / "writer.secret",
                folder / "logs" / "store.log", folder / "data" / "metadata" / "otel.sql",
            ),
            listener=listener.address,
            private=f"private.{PRIVATE_TABLE}",
            ours=attacked_store.table,
        )  # fmt: skip

        def column(query: str) -> list[str]:
            return [str(row[0]) for row in writer.query(query).result_rows]

        with reading(attacked_store) as reader:
            [(own_name,)] = reader.query("SELECT currentUser()").result_rows
            settings = settings_of(reader)
        everybody = column("SELECT name FROM system.users ORDER BY 1")
        others = [name for name in everybody if name not in ("default", own_name)]
        path, evil = str(part), str(targets.evil)
        kinds = {
            **statements_of_engine(writer, targets, others),
            **settings_one_by_one(settings, path),
            "settings that are SQL": list(settings_that_are_sql(settings, str(targets.readable[0]), evil)),
            "settings of formats": list(
                settings_of_formats(
                    column("SELECT name FROM system.formats WHERE is_output ORDER BY 1"),
                    column("SELECT name FROM system.formats WHERE is_input ORDER BY 1"),
                    path,
                    evil,
                )
            ),
            "settings beyond bounds": list(settings_beyond_bounds()),
            "users": list(users(others, column("SELECT name FROM system.roles"), [])),
            "parameters": list(parameters(targets)),
            "external tables": list(external_tables(targets)),
            "paths and methods": list(paths_and_methods(targets)),
            "hosts and origins": list(hosts(attacked_store.http_port)),
        }
        secrets = (*secrets_of(attacked_store), *(f"i am {name}" for name in others))
        yield Matrix(attacked_store, targets, listener, secrets, kinds, settings)


def secrets_of(attacked: AttackedStore) -> Iterator[str]:
    """What no answer may hold: others' rows, files and passwords, and what attacks say of themselves on success."""
    yield from (PRIVATE_MARKER, FILE_MARKER, LOG_MARKER, PRIVATE_TABLE, "root:x:0:0", "smuggled-inner", "lifted-limit")
    # Passwords and keys lie beside the data.
    for path in attacked.store.folder.iterdir():
        if path.is_file():
            for word in re.findall(r"[A-Za-z0-9_-]{32,}", path.read_text(errors="replace")):
                yield word
                yield hashlib.sha256(word.encode()).hexdigest()


@contextmanager
def reading(attacked_store: AttackedStore) -> Iterator[Client]:
    client = connect(attacked_store.url, database=attacked_store.store.database)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def untouched(matrix: Matrix) -> Iterator[None]:
    """Nothing has changed, nobody was called and nothing runs on when the attacks are over."""
    attacked, heard = matrix.attacked, matrix.listener.callers
    before, ran = settled_snapshot(attacked.store.folder), running(attacked)
    yield
    await_idle(attacked, ran)
    assert matrix.listener.callers == heard
    after = snapshot(attacked.store.folder)
    assert {
        name: (before.get(name), after.get(name)) for name in {*before, *after} if before.get(name) != after.get(name)
    } == {}
    rows = attacked.writer.query(f"SELECT count() FROM {attacked.table}").result_rows
    assert rows == [(len(ROWS),)]


def running(attacked: AttackedStore) -> dict[str, str]:
    """Query id and text of what runs, but for this question. The engine's own entry is an endless INSERT."""
    asked = "SELECT query_id, query FROM system.processes WHERE query NOT LIKE '%system.processes%'"
    return {str(number): str(text) for number, text in attacked.writer.query(asked).result_rows}


def await_idle(attacked: AttackedStore, before: Mapping[str, str]) -> None:
    """Wait until nothing runs but what ran before: what was refused or hung up on has let go of its slot."""
    deadline_s = time.monotonic() + 10
    while left := {number: text for number, text in running(attacked).items() if number not in before}:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.05)


def sentence(complaints: list[str]) -> str:
    return f"{len(complaints)} of them:\n" + "\n".join(complaint[:300] for complaint in complaints[:40])


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)])
def test_nothing_is_read_changed_or_held_by(matrix: Matrix, kind: str) -> None:
    attacker = Attacker(matrix.attacked.http_port, matrix.secrets)
    with untouched(matrix):
        complaints = attacker.complaints(matrix.kinds[kind])
    assert not complaints, sentence(complaints)


def test_every_kind_is_played(matrix: Matrix) -> None:
    assert set(matrix.kinds) == {*KINDS, *SLOW}
    # The issue asks for 300.
    assert sum(len(matrix.kinds[kind]) for kind in KINDS) > 3000
    assert all(len(attacks) >= 30 for attacks in matrix.kinds.values())


def test_the_engine_itself_says_which_settings_a_reader_may_change(matrix: Matrix) -> None:
    """For settings with a list of values, whose refusals may have another reason."""
    changeable = {setting.name: setting for setting in matrix.settings if not setting.readonly}
    assert set(changeable) <= MAY_BE_CHANGED | LEFT_OPEN
    assert {
        name for name, setting in changeable.items() if setting.kind in {"String", "Map", "URI"}
    } <= TEXTS | LEFT_OPEN
    assert [name for name in set(changeable) - LEFT_OPEN for part in DANGEROUS if part in name.split("_")] == []


def test_a_request_that_two_readers_understand_in_two_ways_reaches_nobody(matrix: Matrix) -> None:
    port = matrix.attacked.http_port
    told = {}
    with untouched(matrix):
        for name, request in smuggled(port, matrix.attacked.store.writer_user).items():
            answer = raw_answer(port, request)
            for secret in matrix.secrets:
                if secret.encode() in answer:
                    told[name] = secret
    assert told == {}


# Each refusal costs the client a connection, some 20 ms: by default a sample, the same in every run.
@pytest.mark.parametrize("every", [40, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_attacks_over_the_native_port_fail_too(matrix: Matrix, tmp_path: Path, every: int) -> None:
    """The statements, and every locked setting in the packet's own list, through clickhouse-go."""
    with skip_where_missing():
        reader = clickhouse_clients.go_reader()
    locked = [setting for setting in matrix.settings if setting.name not in MAY_BE_CHANGED]
    asked: list[tuple[str, dict[str, str], Must]] = [
        *(
            (attack.statement, {}, attack.must)
            for kind in KINDS
            for attack in matrix.kinds[kind]
            if is_a_statement(attack)
        ),
        *(
            # HTTP refuses the settings that the engine leaves open; over the native protocol they change no answer.
            (
                "SELECT 1",
                {each.name: changed(each, str(matrix.targets.part))},
                Must.BE_HARMLESS if each.name in LEFT_OPEN else Must.BE_REFUSED,
            )
            for each in locked
        ),
    ]
    written = [(attack.statement, {}, attack.must) for attack in matrix.kinds["statements"] if is_a_statement(attack)]
    asked = asked if every == 1 else [*asked[::every], *written[::2]]
    path = tmp_path / "statements"
    path.write_text(
        "".join(json.dumps({"Statement": text, "Settings": settings}) + "\n" for text, settings, _ in asked)
    )
    address, database = f"127.0.0.1:{matrix.attacked.native_port}", matrix.attacked.store.database
    command = [reader, address, "native", "none", f"{HANG_S:g}s", database, "-", path]
    with untouched(matrix):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250 if every > 1 else 1100)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked)
    complaints = [
        f"{answer}: {text} {settings}"
        for answer, (text, settings, must) in zip(answers, asked, strict=True)
        if (must is Must.BE_REFUSED and not answer["Error"])
        or any(secret in answer["Text"] + answer["Error"] and secret not in text for secret in matrix.secrets)
        or "deadline" in answer["Error"]
        or "i/o timeout" in answer["Error"]
    ]
    assert not complaints, sentence(complaints)


def is_a_statement(attack: Attack) -> bool:
    """Whether an attack is its text alone; behind an INSERT the library sends data of its own."""
    return (
        not attack.parameters
        and not attack.headers
        and (attack.path, attack.method) == ("/", "POST")
        and not attack.statement.lstrip().upper().startswith("INSERT")
        and attack.statement.isprintable()
    )


def test_the_store_starts_again_and_has_every_row(matrix: Matrix) -> None:
    store = matrix.attacked.store
    store.stop()
    store.start()
    with reading(matrix.attacked) as client:
        assert client.query(f"SELECT count(), max(Id) FROM {matrix.attacked.table}").result_rows == [(len(ROWS), 2)]
    assert store.restarts == 0
