"""The one place that says where the store is and who we are there: connections for writing and for reading.

Near or far, a password is a file. It is read at every connect, so a changed one takes effect without a restart: what
fails to log in drops its connection and opens another. Each part that reads is a user with slots of its own in the
embedded store; on a server of the operator's where `store.readers` names them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from processors.insert import StoreInserter
from processors.store_client import connect
from schemas import store_error
from schemas.errors import StoreUnavailableError
from schemas.settings import StoreSettings
from sluiceway.commands.options import store_path
from sluiceway.config import Config
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.users import PIPELINE, WRITER

# It logs what it also raises; a person is told once, in our words.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
# Beyond the store's own bound on a query, so that the store's error arrives rather than our time-out.
_ANSWER_MARGIN_S = 10
# A statement of the schema's plan may have to wait for a table's merges.
_SCHEMA_ANSWER_S = 600


@dataclass(frozen=True, slots=True)
class Login:
    """A user and the file of the password, None for none."""

    user: str
    password_file: Path | None

    def password(self) -> str:
        """What the file holds now, without white space around it.

        Raises:
            StoreUnavailableError: it cannot be read; it may be corrected while we run.
        """
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise StoreUnavailableError(
                f"store: the password of {self.user} cannot be read from {self.password_file}: {reason}",
                retry_after_s=10.0,
            ) from error


Reader = Literal["viewer", "alerts", "query"]
"""A part of ours that reads."""

_NOBODY: Final = Login("default", None)


class StoreAccess:
    """Opens connections to one store; makes none itself and may be shared by threads.

    Attributes:
        url: base URL of its HTTP interface.
        remote: whether it is a server of the operator's, which we neither start nor stop.
        database: the database of all our tables.
        compression: of inserts.
    """

    def __init__(self, settings: StoreSettings, folder: Path) -> None:
        """`folder` is the embedded store's, unused with `store.url`."""
        self._settings = settings
        self.remote = settings.url is not None
        self._backend_file: Path | None
        self.database = settings.database
        if settings.url is None:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            self.url = f"http://{host}:{settings.http_port}"
            self._backend_file = StoreFolder(folder).backend
            self._writer = Login(WRITER, StoreFolder(folder).secret)
            self._reader = _NOBODY
        else:
            self.url = settings.url
            self._backend_file = None
            self._writer = Login(settings.user or "default", settings.password_file)
            self._reader = self._writer
            if settings.reader_user is not None:
                self._reader = Login(settings.reader_user, settings.reader_password_file)
        self.compression: Literal["lz4", "none"] = settings.compression or ("lz4" if self.remote else "none")

    @classmethod
    def of(cls, config: Config) -> Self:
        """The store of a whole configuration."""
        return cls(config.store, store_path(config))

    @property
    def where(self) -> str:
        """`host:port` for people."""
        return urlsplit(self.url).netloc

    @property
    def ca_file(self) -> Path | None:
        """Certificates that an https server's must come from; None means the system's."""
        return self._settings.ca_file

    def connect_writer(self) -> Client:
        """A connection for inserts; errors as `processors.store_client.connect`."""
        return self._connect(PIPELINE, self._writer, self.database)

    def connect_for_schema(self) -> Client:
        """A connection as the writer that needs no database yet; errors as above."""
        return self._connect(PIPELINE, self._writer, None, answer_timeout_s=_SCHEMA_ANSWER_S)

    def connect_reader(
        self, reader: Reader = "query", *, connect_timeout_s: int = 5, answer_timeout_s: int | None = None
    ) -> Client:
        """A connection that only reads. Times come back aware. Errors as above.

        Args:
            reader: which part of ours asks.
            connect_timeout_s: how long a connection may take, seconds.
            answer_timeout_s: how long an answer may take, seconds; None for the embedded store's own bound and a bit.
        """
        return self._connect(
            reader,
            self._login(reader),
            self.database,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s or self._settings.reader_max_execution_s + _ANSWER_MARGIN_S,
            read_only=self.remote,
        )

    def _login(self, reader: Reader) -> Login:
        named = self._settings.readers.get(reader)
        return self._reader if named is None else Login(named.user, named.password_file)

    def inserter(self) -> StoreInserter:
        """What a consumer inserts through: one connection of its own, opened at first use."""
        return StoreInserter(self.connect_writer, self.database, compression=self.compression)

    @contextmanager
    def reader(self, *, connect_timeout_s: int = 5) -> Iterator[Client]:
        """A reading connection for a command, closed on leaving.

        Raises:
            StoreUnavailableError: no answer, or ClickHouse's own error, from here or from inside, in one line.
        """
        with self._told():
            client = self.connect_reader(connect_timeout_s=connect_timeout_s)
        with self._closing(client):
            yield client

    @contextmanager
    def writer(self) -> Iterator[Client]:
        """A connection for the schema commands, closed on leaving; errors as `reader`."""
        secret = self._writer.password_file
        if not self.remote and secret is not None and not secret.is_file():
            raise StoreUnavailableError(
                f"store: none was started in {secret.parent} yet; name the data folder with --data-dir"
            )
        with self._told():
            client = self.connect_for_schema()
        with self._closing(client):
            yield client

    def _connect(
        self,
        user: str,
        login: Login,
        database: str | None,
        *,
        connect_timeout_s: int = 5,
        answer_timeout_s: int = 120,
        read_only: bool = False,
    ) -> Client:
        """As `user` of the engine that we started, where its folder tells how; else as `login`, like anybody."""
        backend = Backend.read(self._backend_file) if self._backend_file else None
        return connect(
            self.url if backend is None else backend.url,
            user=login.user if backend is None else user,
            password=login.password() if backend is None else backend.passwords[user],
            headers=None if backend is None else backend.headers,
            database=database,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s,
            ca_file=self._settings.ca_file,
            read_only=read_only,
        )

    @contextmanager
    def _closing(self, client: Client) -> Iterator[None]:
        try:
            with self._told():
                yield
        finally:
            client.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Standard output's reader may leave while rows are passed on to it.
            raise
        except StoreUnavailableError as error:
            # What we said ourselves is clear already.
            if not isinstance(error.__cause__, (ClickHouseError, HTTPError)):
                raise
            raise StoreUnavailableError(self._explain(error.__cause__)) from error
        except (ClickHouseError, HTTPError, OSError) as error:
            raise StoreUnavailableError(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        """One line in our words: what the store refuses, or what to do where nothing answers."""
        text = str(error)
        if (refused := store_error.refusal(text)) is not None:
            return f"store: {refused}"
        if not self.remote:
            return f"store: nothing answers at {self.where}; start it with `sluiceway up`"
        return f"store: no answer from {self.url} (store.url): {store_error.silence(text)}"
