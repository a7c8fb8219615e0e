"""One process at a time brings the schema up to date; the others wait until it is, or take over where that one died.

A ClickHouse server without Keeper has no locks, but it runs the ALTERs of one table one after another and refuses one
that drops a column which is not there. So the table `schema_lease` is a register with compare-and-set: its state is the
name of its second column. It keeps no rows and is never dropped. The state of a lease says who holds it until when.

Where a database is not replicated, each server has a lease of its own: docs/store.md.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from processors import schema
from processors.store_client import store_errors
from schemas.errors import PermanentError, SluicewayError, StoreUnavailableError
from schemas.settings import RetentionSettings

_log = logging.getLogger(__name__)
# After a kill -9 of the leader the others wait this long, and nothing is stored meanwhile; a live one renews thrice in
# this time, and runs its statements in milliseconds.
LEASE_S = 15.0
_POLL_S = 0.2
_TABLE = "schema_lease"
_FREE = "free"
_UNTIL = " until "
_TABLE_ALREADY_EXISTS = 57


@dataclass(frozen=True, slots=True)
class _Seen:
    """The register's state, '' before it was made, and the server's clock, Unix ms."""

    state: str
    now_ms: int

    @property
    def expired(self) -> bool:
        until = self.state.rpartition(_UNTIL)[2]
        return self.state == _FREE or not until.isdigit() or int(until) <= self.now_ms


class SchemaLease:
    """The right to change the schema of one database; its methods raise StoreUnavailableError where it cannot be asked.

    Attributes:
        holder: who we are in it.
    """

    def __init__(self, client: Client, database: str, *, lease_s: float = LEASE_S) -> None:
        self._client = client
        self._database = database
        self._lease_s = lease_s
        self.holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._mine = ""
        self._renewed_at_s = 0.0
        self._lock = threading.Lock()
        self._watched = ("", 0.0)

    def try_acquire(self) -> bool:
        """Take the lease if it is free or its holder let it expire; False while another holds it."""
        asked_at_s = time.monotonic()
        seen = self._look()
        if seen.state != self._watched[0]:
            self._watched = (seen.state, time.monotonic())
        # The server's clock may be set back: one that has not been renewed for twice its time is dead by ours as well.
        unchanged_s = time.monotonic() - self._watched[1]
        if seen.state and not seen.expired and unchanged_s < 2 * self._lease_s:
            return False
        fresh = self._state(seen.now_ms)
        taken = self._swap(seen.state, fresh) if seen.state else self._create(fresh)
        if taken:
            self._mine, self._renewed_at_s = fresh, asked_at_s
            if seen.state not in ("", _FREE):
                _log.warning("schema: the lease of %s expired; taken over", seen.state.rpartition(_UNTIL)[0])
        return taken

    def confirm(self) -> None:
        """Return when the lease is ours for two thirds of its time at least; errors as `renew`."""
        # By our clock, which went on while this process was stopped: what was ours then may be another's.
        if time.monotonic() - self._renewed_at_s > self._lease_s / 3:
            self.renew()

    def renew(self) -> None:
        """Have it for its whole time again.

        Raises:
            StoreUnavailableError: another has taken it over, or the store cannot be asked.
        """
        with self._lock:
            asked_at_s = time.monotonic()
            fresh = self._state(self._look().now_ms)
            if fresh != self._mine and not self._swap(self._mine, fresh):
                raise StoreUnavailableError("schema: another process has taken the lease over; waiting for it")
            self._mine, self._renewed_at_s = fresh, asked_at_s

    def release(self) -> None:
        """Let others have it; harmless when it was lost."""
        with self._lock:
            self._swap(self._mine, _FREE)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew it beside what runs inside, which may be a statement that waits for a busy table."""
        done = threading.Event()

        def keep() -> None:
            while not done.wait(self._lease_s / 3):
                # Who holds it is asked again before the next statement, and an error is raised there.
                with suppress(SluicewayError):
                    self.renew()

        thread = threading.Thread(target=keep, name="schema-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _state(self, now_ms: int) -> str:
        return f"{self.holder}{_UNTIL}{now_ms + int(self._lease_s * 1000)}"

    def _look(self) -> _Seen:
        with store_errors():
            names, now_ms = self._client.query(
                "SELECT groupArrayIf(name, position = 2), any(toUnixTimestamp64Milli(now64(3))) FROM system.columns "
                "WHERE database = {d:String} AND table = {t:String}",
                parameters={"d": self._database, "t": _TABLE},
            ).result_rows[0]
            if not names:
                now_ms = self._client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0]
        return _Seen(names[0] if names else "", now_ms)

    def _create(self, state: str) -> bool:
        try:
            with store_errors():
                self._client.command(
                    f"CREATE TABLE {self._database}.{_TABLE} (`lease` UInt8, `{state}` UInt8) ENGINE = Null "
                    "COMMENT 'Who may change the schema now: the name of the second column. Holds no rows.'"
                )
        except StoreUnavailableError as error:
            if getattr(error.__cause__, "code", None) != _TABLE_ALREADY_EXISTS:
                raise
            return self._look().state == state
        return True

    def _swap(self, old: str, new: str) -> bool:
        try:
            with store_errors():
                self._client.command(
                    f"ALTER TABLE {self._database}.{_TABLE} DROP COLUMN `{old}`, ADD COLUMN `{new}` UInt8"
                )
        except PermanentError:
            # An earlier attempt may have been carried out without our hearing of it.
            return self._look().state == new
        return True


def apply_alone(
    client: Client,
    database: str,
    retention: RetentionSettings,
    *,
    stopping: Callable[[], bool] = lambda: False,
    lease_s: float = LEASE_S,
) -> list[schema.Step]:
    """Bring the schema up to date, or wait until another process has; returns the steps taken here.

    The lease lies in the database, so a missing database is made before, by whoever comes, and is no step.

    Args:
        stopping: asked while waiting; True gives up, and what is missing may still be missing.
        lease_s: after how long without a sign a leader counts as dead, seconds; equal in all processes.

    Raises:
        ConfigurationError, StoreUnavailableError: as `schema.apply`. May be called again.
    """
    lease = SchemaLease(client, database, lease_s=lease_s)
    while not stopping():
        if schema.is_current(client, database, retention):
            return []
        schema.create_database(client, database)
        if not lease.try_acquire():
            time.sleep(random.uniform(_POLL_S / 2, _POLL_S))  # noqa: S311
            continue
        try:
            with lease.renewed():
                return schema.apply(client, database, retention, before_each=lease.confirm)
        finally:
            # An error of what ran inside tells more than that the lease must expire by itself.
            with suppress(SluicewayError, ClickHouseError):
                lease.release()
    return []
