"""Set aside what the engine did not write, before it starts: one foreign file can keep it from starting for ever.

Something is foreign when it has a place where the engine acts on it and not the form that the engine gives it. It is
renamed to a folder beside the data, never deleted and never followed. Rows are never moved: a part stays, whatever is
damaged about it, and so does the definition of a table that has rows, if no copy of it is there to be put in its place;
the engine then says what is wrong. Which foreign things stop a start was tried on the engine
(tests/faults/test_store_foreign.py).
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from schemas.private_files import make_folder
from sluiceway.embedded.definition_copies import DefinitionCopies
from sluiceway.embedded.definitions import UUID, Definition, parsed
from sluiceway.embedded.engine_files import (
    LOG_NAME,
    PART,
    defines_something,
    entries,
    foreign_in_table,
    is_file,
    is_folder,
    linked_uuid,
    shown,
)
from sluiceway.embedded.folder import StoreFolder

_Key = TypeVar("_Key")
_TOLD = 20
# Where links stand that the operator may have made to lay a folder on another disk.
_ROOT_FOLDERS = (
    "data",
    "metadata",
    "metadata_dropped",
    "store",
    "tmp",
    "user_defined",
    "user_files",
    "dynamic_user_defined_executable_functions",
    "named_collections",
    "flags",
    "access",
    "disks",
    "format_schemas",
)
_ROOT_FILES = ("status", "uuid")
_LARGEST_DEFINITION_BYTES = 64 << 20
_DROPPED_NAME = re.compile(rb".+\.(" + UUID.pattern + rb")\.sql(?:\.tmp)?")
# What `prepare` makes of the table that the serving child waits on, whose definition holds nothing of anybody.
_PIPE = "ATTACH TABLE _ UUID '{uuid}'\n(\n    `line` String\n)\nENGINE = Null\n"


class SetAside:
    """Moves foreign things out of one store's data path; only while no engine uses it.

    Attributes:
        sentences: what was done or found, for people, one a thing.
    """

    def __init__(self, folder: StoreFolder, *, engines_known: bool) -> None:
        self._root = folder.root
        self._data = folder.data
        self._prepared = folder.prepared
        self._engines_known = engines_known
        self._copies = DefinitionCopies(folder.root / "definitions", folder.data)
        self._to = folder.root / "set-aside" / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
        self.sentences: list[str] = []

    def run(self) -> None:
        """Look at everything that a start depends on, from the root to the parts."""
        self._look_at_root()
        databases = self._look_at_databases()
        definitions: dict[tuple[Path, Path], Definition] = {}
        for file, database in databases.items():
            folder = self._definitions_of(file, database)
            if folder is not None:
                definitions |= {(file, at): of for at, of in self._look_at_database(file, folder, database).items()}
        definitions = _one_of_each_uuid(definitions, lambda key: (key[1], self._link_of(*key)), self._move)
        self._copies.keep([*databases, *(at for _, at in definitions)])
        self._look_at_dropped({of.uuid for of in definitions.values() if of.uuid})
        for (file, at), of in definitions.items():
            if of.keeps_parts:
                self._look_at_table(self._rows_of(file, at, of))

    def _look_at_root(self) -> None:
        for path in entries(self._data):
            if path.name in _ROOT_FOLDERS and not path.is_dir():
                self._move(path, "is no folder")
            elif path.name in _ROOT_FILES and not is_file(path):
                self._move(path, "is no file")
        for path in entries(self._data / "user_defined"):
            if path.suffix == ".sql" and not is_file(path) and not is_folder(path):
                self._move(path, "is no file")

    def _look_at_databases(self) -> dict[Path, Definition]:
        found = {}
        for path in entries(self._data / "metadata"):
            if path.suffix == ".sql":
                definition = self._read(path)
                if definition is not None and definition.database:
                    found[path] = definition
                else:
                    self._mend_database(path, found)
        for path in entries(self._data / "metadata"):
            if path.suffix != ".sql" and not os.path.lexists(f"{path}.sql"):
                self._look_beside_databases(path, found)
        found = _one_of_each_uuid(found, lambda file: (file, file.with_suffix("")), self._move)
        for file, definition in found.items():
            link = file.with_suffix("")
            if definition.uuid and is_folder(link):
                self._move(link, "stands where the engine lays a link")
        return found

    def _look_beside_databases(self, path: Path, found: dict[Path, Definition]) -> None:
        """Of any folder here, and any link to one, the engine makes a database, wherever the link leads."""
        if uuid := linked_uuid(path):
            if uuid in {definition.uuid for definition in found.values()}:
                self._move(path, "leads to another database")
            elif defines_something(self._store(uuid)):
                self._mend_database(path.with_name(f"{path.name}.sql"), found)
        elif is_file(path):
            if not path.name.endswith(".sql.tmp"):
                self._move(path, "is not of the engine")
        elif not defines_something(path):
            self._move(path, "is no folder with definitions")

    def _mend_database(self, path: Path, found: dict[Path, Definition]) -> None:
        """A database's definition says nothing but its UUID, which the link beside it says too."""
        name = path.with_suffix("")
        linked = linked_uuid(name)
        if linked and defines_something(self._store(linked)):
            if not os.path.lexists(path) or self._move(path, "defines no database"):
                path.write_text(f"ATTACH DATABASE _ UUID '{linked}'\nENGINE = Atomic\n", encoding="ascii")
                self.sentences.append(f"{path.name} was written anew from the link beside it")
                found[path] = Definition(True, linked, "Atomic")
        elif defines_something(name) or any(entries(self._data / "data" / name.name)):
            self._leave(path, "defines no database, though there are tables of this name")
        else:
            self._move(path, "defines no database")

    def _definitions_of(self, file: Path, database: Definition) -> Path | None:
        """The folder with the definitions of a database, if it has one."""
        folder = self._store(database.uuid) if database.uuid else file.with_suffix("")
        return folder if is_folder(folder) else None

    def _look_at_database(self, file: Path, folder: Path, database: Definition) -> dict[Path, Definition]:
        found = {}
        for path in entries(folder):
            if path.suffix == ".sql":
                if definition := self._accepted(self._read(path), database):
                    found[path] = definition
                elif restored := self._restored(file, path, database):
                    found[path] = restored
                elif (file.stem, path.name) == (self._prepared.parent.name, self._prepared.name):
                    if self._move(path, "does not define the table that the store waits on"):
                        path.write_text(_PIPE.format(uuid=_random_uuid()), encoding="ascii")
                elif self._has_rows(file, path):
                    self._leave(path, "is damaged, and its table has a folder with rows")
                elif _is_of_our_schema(path.stem):
                    self._leave(path, "is damaged, and a part of our schema")
                else:
                    self._move(path, "defines nothing that the engine knows")
            elif not (is_file(path) and path.name.endswith((".sql.tmp", ".sql.tmp_drop", ".sql.detached"))):
                self._move(path, "is not of the engine")
            elif path.suffix == ".detached" and _is_of_our_schema(path.name.removesuffix(".sql.detached")):
                self._move(path, "hides a part of our schema")
        return found

    def _restored(self, file: Path, at: Path, database: Definition) -> Definition | None:
        """What a damaged definition said at the last start that it was whole, if it is of the same rows."""
        copy = self._copies.of(at)
        definition = self._accepted(parsed(copy, engines_known=self._engines_known), database)
        if definition is None or linked_uuid(self._link_of(file, at)) not in ("", definition.uuid):
            return None
        if not self._move(at, "is damaged"):
            return None
        at.write_bytes(copy)
        self.sentences.append(f"{shown(at.relative_to(self._data))} was written anew from the copy of an earlier start")
        return definition

    @staticmethod
    def _accepted(definition: Definition | None, database: Definition) -> Definition | None:
        """The definition, if it can be one of something in the database."""
        fits = definition is not None and not definition.database and bool(definition.uuid) == bool(database.uuid)
        return definition if fits else None

    def _look_at_dropped(self, alive: set[str]) -> None:
        for path in entries(self._data / "metadata_dropped"):
            name = _DROPPED_NAME.fullmatch(os.fsencode(path.name))
            if name is None or not is_file(path):
                self._move(path, "is no definition of a dropped table")
            elif name[1].decode() in alive:
                # The engine would delete the rows of a table that is there.
                self._move(path, "has the UUID of a table that was not dropped")

    def _look_at_table(self, table: Path) -> None:
        if not is_folder(table):
            return
        for path in entries(table):
            reason = foreign_in_table(path)
            if reason:
                self._move(path, reason)
            elif PART.fullmatch(os.fsencode(path.name)) and os.path.lexists(path / "txn_version.txt"):
                self._move(path / "txn_version.txt", "is of transactions, which the store has not")
        for path in entries(table / "deduplication_logs"):
            if not (LOG_NAME.fullmatch(os.fsencode(path.name)) and is_file(path)):
                self._move(path, "is no log of tokens")

    def _read(self, path: Path) -> Definition | None:
        if not is_file(path) or path.stat().st_size > _LARGEST_DEFINITION_BYTES:
            return None
        try:
            return parsed(path.read_bytes(), engines_known=self._engines_known)
        except OSError:
            return None

    def _store(self, uuid: str) -> Path:
        return self._data / "store" / uuid[:3] / uuid

    def _link_of(self, file: Path, at: Path) -> Path:
        """The link by which the engine shows the rows of a table; `file` defines its database."""
        return self._data / "data" / file.stem / at.stem

    def _rows_of(self, file: Path, at: Path, of: Definition) -> Path:
        return self._store(of.uuid) if of.uuid else self._link_of(file, at)

    def _has_rows(self, file: Path, at: Path) -> bool:
        shown = self._link_of(file, at)
        uuid = linked_uuid(shown)
        return is_folder(self._store(uuid)) if uuid else is_folder(shown)

    def _move(self, path: Path, reason: str) -> bool:
        """Rename it to the same place below the folder of what was set aside."""
        to = self._to / path.relative_to(self._root)
        try:
            make_folder(to.parent)
            try:
                path.rename(to)
            except PermissionError:
                # To move a folder one must be able to write to it.
                if is_folder(path):
                    path.chmod(0o700)
                path.rename(to)
        except OSError as error:
            self._leave(path, f"{reason}, and cannot be set aside ({error.strerror})")
            return False
        where = shown(to.relative_to(self._root).parent)
        self.sentences.append(f"set aside: {shown(path.relative_to(self._data))} {reason}; it is in {where}")
        return True

    def _leave(self, path: Path, reason: str) -> None:
        self.sentences.append(f"left where it is: {shown(path.relative_to(self._data))} {reason}")


def set_aside(folder: StoreFolder, *, engines_known: bool = True) -> list[str]:
    """Set aside what is foreign in a store that no engine uses now; never a reason not to start.

    Args:
        folder: the store.
        engines_known: whether the engine is the wheel's, whose kinds of tables we know.

    Returns:
        A sentence for each thing that was set aside, or left though it looks wrong; of many the first, and how many.
    """
    looked = SetAside(folder, engines_known=engines_known)
    try:
        looked.run()
    except OSError as error:
        looked.sentences.append(f"not all of the store could be looked at: {error}")
    more = len(looked.sentences) - _TOLD
    return [*looked.sentences[:_TOLD], *([f"and {more} more"] if more > 0 else [])]


def tell(folder: StoreFolder, sentences: Sequence[str]) -> None:
    """Leave sentences for the process that started this one, and print them for the error of a start that fails."""
    if sentences:
        text = "".join(f"{sentence}\n" for sentence in sentences)
        sys.stderr.write(text)
        with suppress(OSError), _told(folder).open("a", encoding="utf-8") as file:
            file.write(text)


def untold(folder: StoreFolder) -> list[str]:
    """The sentences of the children since the last call."""
    try:
        sentences = _told(folder).read_text(encoding="utf-8").splitlines()
        _told(folder).unlink()
    except OSError:
        return []
    return sentences


def _told(folder: StoreFolder) -> Path:
    return folder.root / "set-aside.told"


def _one_of_each_uuid(
    definitions: dict[_Key, Definition], places: Callable[[_Key], tuple[Path, Path]], move: Callable[[Path, str], bool]
) -> dict[_Key, Definition]:
    """The definitions without those that repeat a UUID: two would end the engine, and name the same rows anyhow.

    `places` tells file and link of one. It is kept whose link leads to the UUID, or which is ours, or else the oldest.
    """
    of_uuid: dict[str, list[_Key]] = {}
    for key, definition in definitions.items():
        of_uuid.setdefault(definition.uuid, []).append(key)
    kept = dict(definitions)
    for uuid, keys in of_uuid.items():
        if not uuid or len(keys) == 1:
            continue

        def unlikely(key: _Key, uuid: str = uuid) -> tuple[bool, bool, int]:
            file, link = places(key)
            return linked_uuid(link) != uuid, not _is_of_our_schema(file.stem), file.stat().st_ctime_ns

        first, *others = sorted(keys, key=unlikely)
        for key in others:
            if move(places(key)[0], f"has the UUID of {places(first)[0].name}"):
                del kept[key]
    return kept


def _is_of_our_schema(name: str) -> bool:
    # Only where something is wrong: it brings in more than the rest of this process needs.
    from schemas.ddl import definitions  # noqa: PLC0415
    from schemas.settings import RetentionSettings  # noqa: PLC0415

    return name in {definition.name for definition in definitions("otel", RetentionSettings())}


def _random_uuid() -> str:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
