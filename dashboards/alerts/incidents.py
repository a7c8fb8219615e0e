"""Incident records in one SQLite file: written by the evaluator, acknowledged by a command, read by anybody.

One process evaluates, so rows are written by one; an acknowledgement that another process wrote is never overwritten.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Self

from dashboards.alerts.incident import Incident
from dashboards.alerts.state import Labels, Pending
from schemas.errors import RecordsUnavailableError
from schemas.private_files import make_database, make_folder

APPLICATION_ID = 0x534C5541  # "SLUA"
SCHEMA_VERSION = 1
_SCHEMA = resources.files("dashboards").joinpath("alerts", "incidents.sql").read_text(encoding="utf-8")
# Longer than any transaction of ours.
_BUSY_TIMEOUT_S = 5.0
_COLUMNS = tuple(field.name for field in fields(Incident))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM incidents"
# Whoever acknowledged first stands, in whichever process.
_OURS_UNLESS = "IIF(incidents.acknowledged_s IS NULL, excluded.{0}, incidents.{0})"
_SET = ", ".join(
    f"{name} = {_OURS_UNLESS.format(name) if name.startswith('acknowledged') else f'excluded.{name}'}"
    for name in _COLUMNS[1:]
)
_SAVE = (
    f"INSERT INTO incidents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {_SET}"
)
_ACKNOWLEDGE = (
    "UPDATE incidents SET acknowledged_s = ?, acknowledged_by = ?"
    " WHERE id = ? AND acknowledged_s IS NULL AND restored_s IS NULL"
)
_TELL = "INSERT INTO told (receiver, fingerprint, at_s) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at_s = excluded.at_s"

_PENDING = "INSERT INTO pending (rule, labels, value, started_s, seen_s) VALUES (?, ?, ?, ?, ?)"

Told = dict[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class PendingOf:
    """An alert of a rule that may fire soon, and when its condition was last seen to hold, Unix seconds."""

    rule: str
    pending: Pending
    seen_s: float


class IncidentFile:
    """The file; also a context manager. One thread uses it at a time, any thread may.

    Args:
        path: where it is.
        create: whether to make it; only the evaluator does.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        self._create = create
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def exists(self) -> bool:
        """Whether anything was ever recorded here."""
        return self._path.is_file()

    def untold(self) -> list[Incident]:
        """Those that are open, and those whose receiver does not know yet that they are over; the oldest first.

        Raises:
            RecordsUnavailableError: as all methods here, when the file cannot be read or written now.
        """
        return self._read(f"{_SELECT} WHERE over_told = 0 ORDER BY detected_s")

    def since(self, from_s: float, limit: int = 1000) -> list[Incident]:
        """Those that were open at some time from then on; the latest first, `limit` at most."""
        return self._read(
            f"{_SELECT} WHERE restored_s IS NULL OR restored_s >= ? ORDER BY detected_s DESC LIMIT ?",
            (from_s, limit),
        )

    def beginning(self, prefix: str) -> list[Incident]:
        """Those whose id begins so."""
        return self._read(f"{_SELECT} WHERE substr(id, 1, ?) = ? ORDER BY detected_s", (len(prefix), prefix))

    def told(self) -> Told:
        """When a receiver was last told of an alert, by receiver and fingerprint."""
        with self._guarded() as connection:
            rows = connection.execute("SELECT receiver, fingerprint, at_s FROM told").fetchall()
        return {(receiver, fingerprint): at_s for receiver, fingerprint, at_s in rows}

    def acknowledged(self, ids: Collection[str]) -> dict[str, tuple[float, str]]:
        """Which of these were acknowledged: when, and by whom."""
        if not ids:
            return {}
        marks = ", ".join("?" * len(ids))
        with self._guarded() as connection:
            rows = connection.execute(
                "SELECT id, acknowledged_s, acknowledged_by FROM incidents"
                f" WHERE acknowledged_s IS NOT NULL AND id IN ({marks})",
                tuple(ids),
            ).fetchall()
        return {id_: (at_s, by) for id_, at_s, by in rows}

    def acknowledge(self, incident_id: str, at_s: float, by: str) -> bool:
        """Record who took an incident; False where it is over, unknown, or taken already."""
        with self._guarded() as connection, connection:
            return connection.execute(_ACKNOWLEDGE, (at_s, by, incident_id)).rowcount == 1

    def save(self, incidents: Sequence[Incident], *, forget_before_s: float = 0) -> None:
        """Write these, all or none, and forget those that were over before a time."""
        with self._guarded() as connection, connection:
            connection.executemany(_SAVE, [_row(incident) for incident in incidents])
            connection.execute("DELETE FROM incidents WHERE over_told = 1 AND restored_s < ?", (forget_before_s,))

    def save_told(self, told: Mapping[tuple[str, str], float], forgotten: Collection[tuple[str, str]]) -> None:
        """Write what receivers were told, and forget what they were told is over."""
        with self._guarded() as connection, connection:
            connection.executemany("DELETE FROM told WHERE receiver = ? AND fingerprint = ?", forgotten)
            connection.executemany(_TELL, [(*key, at_s) for key, at_s in told.items()])

    def pending(self) -> list[PendingOf]:
        """Alerts that were pending when this was last written."""
        with self._guarded() as connection:
            rows = connection.execute("SELECT rule, labels, value, started_s, seen_s FROM pending").fetchall()
        return [
            PendingOf(rule, Pending(_labels(labels), value, started_s), seen_s)
            for rule, labels, value, started_s, seen_s in rows
        ]

    def save_pending(self, pending: Sequence[PendingOf]) -> None:
        """Write the alerts that are pending, in the place of those that were."""
        rows = [
            (of.rule, json.dumps(of.pending.labels), of.pending.value, of.pending.started_s, of.seen_s)
            for of in pending
        ]
        with self._guarded() as connection, connection:
            connection.execute("DELETE FROM pending")
            connection.executemany(_PENDING, rows)

    def _read(self, sql: str, parameters: Sequence[object] = ()) -> list[Incident]:
        with self._guarded() as connection:
            return [_incident(row) for row in connection.execute(sql, parameters)]

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._open()
        except (sqlite3.Error, OSError) as error:
            # A connection may not heal with the cause of its failure.
            self.close()
            raise RecordsUnavailableError(f"incident records in {self._path} are unavailable: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self._create:
            make_folder(self._path.parent)
            make_database(self._path)
        uri = f"{self._path.absolute().as_uri()}?mode={'rwc' if self._create else 'rw'}"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        [(application,)] = connection.execute("PRAGMA application_id").fetchall()
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
        [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if tables and (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(
                f"must be a file of incidents of version {SCHEMA_VERSION}; got application_id {application:#x},"
                f" version {version}"
            )
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        if not tables:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
            )


def _row(incident: Incident) -> tuple[Any, ...]:
    values = {name: getattr(incident, name) for name in _COLUMNS}
    return tuple((values | {"labels": json.dumps(incident.labels)}).values())


def _incident(row: Sequence[Any]) -> Incident:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Incident(**values | {"labels": _labels(values["labels"]), "over_told": bool(values["over_told"])})


def _labels(text: str) -> Labels:
    return tuple((name, value) for name, value in json.loads(text))
