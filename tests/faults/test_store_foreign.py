"""Foreign files in a store: it starts, every row is there, and nothing is deleted or followed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from processors.store_client import connect
from schemas.ddl import definitions
from schemas.errors import StoreUnavailableError
from schemas.settings import RetentionSettings, StoreSettings
from sluiceway.embedded import child
from sluiceway.embedded.definitions import DATABASE_ENGINES, TABLE_ENGINES
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.foreign import set_aside
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port

STATEMENTS = (
    (
        "CREATE TABLE kept (Day Date, X UInt64, Z UInt64) ENGINE = MergeTree PARTITION BY Day ORDER BY X"
        " SETTINGS non_replicated_deduplication_window = 100, old_parts_lifetime = 3600"
    ),
    *(
        f"INSERT INTO kept SELECT toDate('2026-01-01') + {n % 2}, number + {n}000, 0 FROM numbers(1000)"
        for n in range(4)
    ),
    "OPTIMIZE TABLE kept PARTITION '2026-01-01'",
    "ALTER TABLE kept UPDATE Z = 1 WHERE X < 10 SETTINGS mutations_sync = 1",
    "CREATE DATABASE notes",
    "CREATE TABLE notes.mine (X UInt64, Text String COMMENT 'it''s (so') ENGINE = ReplacingMergeTree ORDER BY X",
    "INSERT INTO notes.mine SELECT number, toString(number) FROM numbers(100)",
    "ALTER TABLE notes.mine DETACH PARTITION tuple()",
    "INSERT INTO notes.mine SELECT number, toString(number) FROM numbers(70)",
    "CREATE TABLE notes.lines (X UInt64) ENGINE = Log",
    "INSERT INTO notes.lines SELECT number FROM numbers(10)",
    "CREATE TABLE notes.pairs (X UInt64, Y String) ENGINE = Join(ANY, LEFT, X)",
    "INSERT INTO notes.pairs SELECT number, 'a' FROM numbers(5)",
    "CREATE VIEW notes.`counted (` AS SELECT count() AS N FROM notes.mine WHERE Text != '(['",
    (
        "CREATE DICTIONARY notes.words (X UInt64, Y String DEFAULT '') PRIMARY KEY X"
        " SOURCE(CLICKHOUSE(TABLE 'pairs' DB 'notes')) LIFETIME(0) LAYOUT(FLAT())"
    ),
    "CREATE TABLE notes.`odd /\n näme` (X UInt64) ENGINE = MergeTree ORDER BY X",
    "INSERT INTO notes.`odd /\n näme` VALUES (1), (2)",
    "CREATE TABLE notes.gone (X UInt64) ENGINE = MergeTree ORDER BY X",
    "DROP TABLE notes.gone",
    "CREATE TABLE notes.away (X UInt64) ENGINE = MergeTree ORDER BY X",
    "DETACH TABLE notes.away PERMANENTLY",
    "CREATE DATABASE `odd d.b`",
    "CREATE TABLE `odd d.b`.t (X UInt64, Y String) ENGINE = MergeTree ORDER BY X PARTITION BY Y",
    "INSERT INTO `odd d.b`.t VALUES (1, 'x y'), (2, 'é')",
    "CREATE FUNCTION plus_one AS (x) -> x + 1",
)


def rows(client: Client) -> dict[str, tuple[int, int]]:
    """Rows and a sum over all they hold, of each table that keeps some."""
    tables = client.query(
        "SELECT database, name FROM system.tables WHERE engine LIKE '%MergeTree' OR engine IN ('Log', 'Join')"
    ).result_rows
    found = {}
    for database, name in tables:
        quoted = name.replace("\\", "\\\\").replace("`", "\\`").replace("\n", "\\n")
        count, total = client.query(f"SELECT count(), sum(cityHash64(*)) FROM `{database}`.`{quoted}`").result_rows[0]
        found[f"{database}.{name}"] = (int(count), int(total))
    return found


def opened(folder: Path, start_timeout_s: float = 60) -> EmbeddedStore:
    return EmbeddedStore(folder, StoreSettings(http_port=free_port(), start_timeout_s=start_timeout_s))


def asking(store: EmbeddedStore) -> Client:
    return connect(store.url, user=store.writer_user, password=store.writer_password, database=store.database)


@dataclass(frozen=True)
class Whole:
    """A store that was stopped in order, and the rows that it acknowledged."""

    folder: Path
    rows: dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with opened(folder) as store:
        client = asking(store)
        for definition in definitions("otel", RetentionSettings()):
            client.command(definition.create)
        for statement in STATEMENTS:
            client.command(statement)
        ours = {row[0] for row in client.query("SELECT name FROM system.table_engines").result_rows}
        theirs = {row[0] for row in client.query("SELECT name FROM system.database_engines").result_rows}
        client.close()
    assert ours == TABLE_ENGINES
    assert theirs == DATABASE_ENGINES
    with opened(folder) as store:
        client = asking(store)
        acknowledged = rows(client)
        client.close()
    assert acknowledged["otel.kept"][0] == 4000
    # Everything that the engine made itself is its own.
    assert not (folder / "set-aside").exists()
    return Whole(folder, acknowledged)


class Store:
    """A copy of a whole store, where things can be planted."""

    def __init__(self, whole: Whole, folder: Path) -> None:
        shutil.copytree(whole.folder, folder, symlinks=True, dirs_exist_ok=True)
        self.folder = folder
        self.data = folder / "data"

    @property
    def metadata(self) -> Path:
        return self.data / "metadata"

    def database(self, name: str) -> Path:
        return (self.metadata / name).resolve()

    def table(self, name: str) -> Path:
        database, _, table = name.partition(".")
        return (self.data / "data" / database / table).resolve()

    def aside(self) -> dict[str, Path]:
        """What was set aside, by its place below the data."""
        return {
            str(path.relative_to(moved / "data")): path
            for moved in (self.folder / "set-aside").glob("*")
            for path in moved.rglob("*")
        }


@pytest.fixture
def store(whole: Whole, tmp_path: Path) -> Store:
    return Store(whole, tmp_path / "store")


def _folder(at: Path, mode: int) -> None:
    (at / "inner").mkdir(parents=True)
    (at / "count.txt").write_text("5")
    at.chmod(mode)


# A foreign thing of each kind, made at a path. Nothing outside may be touched through a link.
Plant = Callable[[Path, Path], object]
KINDS: dict[str, Plant] = {
    "empty file": lambda at, _: at.touch(),
    "garbage": lambda at, _: at.write_bytes(b"\0\x01 not a (word\xff"),
    "SQLite": lambda at, _: at.write_bytes(b"SQLite format 3\0" + bytes(4080)),
    "cut short": lambda at, _: at.write_bytes(b"ATTACH TABLE _ UUID '11111111-2222-4333-8444-555555555555'\n(\n"),
    "other engine": lambda at, _: at.write_bytes(
        b"ATTACH TABLE _ UUID '11111111-2222-4333-8444-555555555555'\n(\n    `X` Int8\n)\nENGINE = Bogus\nORDER BY X\n"
    ),
    "other database": lambda at, _: at.write_bytes(
        b"ATTACH DATABASE _ UUID '11111111-2222-4333-8444-555555555556'\nENGINE = Bogus\n"
    ),
    "empty folder": lambda at, _: at.mkdir(),  # type: ignore[func-returns-value]
    "folder": lambda at, _: _folder(at, 0o700),
    "closed folder": lambda at, _: _folder(at, 0),
    "fifo": lambda at, _: os.mkfifo(at),
    "dangling link": lambda at, _: at.symlink_to("/nowhere"),
    "link to a file": lambda at, outside: at.symlink_to(outside / "file"),
    "link to a folder": lambda at, outside: at.symlink_to(outside),
}
PARTS = ("20260101_1_9_5", "20260101_2_3_1", "20260101_90_90_0", "20260102_4_9_1", "20270101_1_1_0", "all_1_1_0")


def places(store: Store, *, definitions_only: bool = False) -> dict[str, Path]:
    """Where foreign things are planted, one name of each form that the engine looks at in each folder."""
    odd = os.fsdecode(b"e\xff\n\x01")
    found = {f"metadata/{name}": store.metadata / name for name in ("evil.sql", ".evil.sql", f"{odd}.sql", "e" * 250)}
    for database in ("otel", "notes"):
        folder = store.database(database)
        for name in ("evil.sql", f"{odd}.sql", "evil", "evil.txt", "e" * 240 + ".sql"):
            found[f"{database}/{name}"] = folder / name
    if definitions_only:
        return found
    dropped = "otel.gone.31111111-2222-4333-8444-555555555555.sql"
    for name in (dropped, "otel.gone.none.sql", "evil"):
        found[f"dropped/{name}"] = store.data / "metadata_dropped" / name
    for name in ("status", "user_files", "named_collections", "evil", odd):
        found[f"root/{name}"] = store.data / name
    found["functions"] = store.data / "user_defined" / "function_evil.sql"
    for table in ("otel.kept", "notes.mine"):
        folder = store.table(table)
        for name in (
            *PARTS,
            "mutation_99.txt",
            "mutation_x.txt",
            "evil",
            odd,
            "tmp_insert_x",
            "moving",
            "txn_version.txt",
        ):
            found[f"{table}/{name}"] = folder / name
    log = store.table("otel.kept") / "deduplication_logs"
    for name in ("evil", "deduplication_log_x.txt", "evil_9.txt"):
        found[f"otel.kept/log/{name}"] = log / name
    part = next(path for path in sorted(store.table("otel.kept").iterdir()) if path.name.startswith("2026"))
    found["part"] = part / "txn_version.txt"
    return found


def holds(at: Path, whole: Whole) -> None:
    """The store starts, and every row is there."""
    with opened(at) as store:
        client = asking(store)
        assert rows(client) == whole.rows
        client.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_store_starts_with_all_its_rows_whatever_is_planted_in_it(store: Store, whole: Whole, seed: int) -> None:
    outside = store.folder.parent / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").write_text("somebody's")
    (outside / "file").chmod(0o644)
    chance = random.Random(seed)
    planted = {}
    for name, at in places(store).items():
        if os.path.lexists(at):
            continue
        # Every place gets every kind in some round, as 8 rounds of 13 kinds do not by chance.
        kind = list(KINDS)[(chance.randrange(len(KINDS)) + seed) % len(KINDS)]
        KINDS[kind](at, outside)
        planted[name] = (kind, at)

    holds(store.folder, whole)

    aside = store.aside()
    for name, (kind, at) in planted.items():
        if name.startswith(("metadata/", "otel/", "notes/")) and "link" not in kind and name != "metadata/" + "e" * 250:
            assert str(at.relative_to(store.data)) in aside, (name, kind)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "somebody's"
    assert [oct(path.stat().st_mode & 0o777) for path in (outside, outside / "file")] == ["0o755", "0o644"]
    # What was set aside stays so: the next look finds nothing.
    assert set_aside(StoreFolder(store.folder)) == []


CUT_SHORT = ("metadata/otel.sql", "metadata/entry.sql", "otel/kept.sql", "otel/spans_1m_mv.sql", "entry/pipe.sql")


def cut_short(store: Store, name: str) -> None:
    database, _, file = name.partition("/")
    at = (store.metadata if database == "metadata" else store.database(database)) / file
    at.write_bytes(b"")


@pytest.mark.parametrize("copies", [True, False])
def test_definitions_that_were_cut_short_are_written_anew(store: Store, whole: Whole, copies: bool) -> None:
    if not copies:
        shutil.rmtree(store.folder / "definitions")
    # Without a copy the link beside a database says all of it, and the store knows its own waiting table.
    for name in CUT_SHORT if copies else ("metadata/otel.sql", "metadata/notes.sql", "entry/pipe.sql"):
        cut_short(store, name)
    holds(store.folder, whole)


@pytest.mark.parametrize("name", ["otel/kept.sql", "otel/spans_1m_mv.sql"])
def test_a_damaged_definition_without_a_copy_is_not_given_up(store: Store, name: str) -> None:
    shutil.rmtree(store.folder / "definitions")
    cut_short(store, name)
    with pytest.raises(StoreUnavailableError, match=r"left where it is: .*is damaged"):
        opened(store.folder).start()
    assert not (store.folder / "set-aside").exists()


def test_what_was_set_aside_is_said_once(store: Store, whole: Whole, caplog: pytest.LogCaptureFixture) -> None:
    (store.metadata / "evil.sql").touch()
    os.mkfifo(store.database("otel") / "a\nb")
    for said in (["'metadata/evil.sql' defines no database", r"a\nb' is not of the engine"], []):
        caplog.clear()
        with caplog.at_level("WARNING", "sluiceway.embedded.store"):
            holds(store.folder, whole)
        warned = [record.getMessage() for record in caplog.records if "set aside" in record.getMessage()]
        assert len(warned) == len(said)
        assert all(part in " ".join(warned) for part in said)


def test_a_second_definition_of_the_same_rows_is_set_aside(store: Store, whole: Whole) -> None:
    otel = store.database("otel")
    for of, copy in (("kept", "a_copy"), ("spans_1m_mv", "b_copy")):
        shutil.copy2(otel / f"{of}.sql", otel / f"{copy}.sql")
    shutil.copy2(store.metadata / "notes.sql", store.metadata / "a_copy.sql")
    uuid = store.table("otel.kept").name
    # The engine would take the rows of a table that is there for those of a dropped one, and delete them.
    shutil.copy2(otel / "kept.sql", store.data / "metadata_dropped" / f"otel.kept.{uuid}.sql")
    (otel / "otel_traces.sql.detached").touch()

    holds(store.folder, whole)

    names = {path.name for path in store.aside().values() if path.is_file()}
    assert names == {"a_copy.sql", "b_copy.sql", f"otel.kept.{uuid}.sql", "otel_traces.sql.detached"}


ENDS: dict[str, Callable[[Store], object]] = {
    "an empty definition": lambda store: (store.metadata / "evil.sql").touch(),
    "a file beside definitions": lambda store: (store.database("otel") / "evil.txt").touch(),
    "a second UUID": lambda store: shutil.copy2(store.metadata / "notes.sql", store.metadata / "a_copy.sql"),
    "an empty part": lambda store: (store.table("otel.kept") / "20260101_2_3_1").mkdir(),
    "a linked part": lambda store: (store.table("otel.kept") / "20260101_90_90_0").symlink_to("/nowhere"),
    "an empty mutation": lambda store: (store.table("otel.kept") / "mutation_99.txt").touch(),
    "a file beside tokens": lambda store: (store.table("otel.kept") / "deduplication_logs" / "evil").touch(),
}


@pytest.mark.parametrize("what", ENDS)
def test_without_the_look_the_engine_does_not_start(
    store: Store, whole: Whole, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ENDS[what](store)
    with monkeypatch.context() as patched:
        patched.setattr(child, "ENGINE_MODULE", "tests.engine_without_a_look")
        # An engine that a signal ended is started again until the time is over.
        with pytest.raises(StoreUnavailableError):
            opened(store.folder, start_timeout_s=5).start()
    holds(store.folder, whole)
