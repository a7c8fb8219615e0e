"""Is this machine fit to run, and does what runs here look well? Each finding says what to do about it.

Looks only: nothing is started, written or repaired.
"""

from __future__ import annotations

import enum
import errno
import os
import platform
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import ConfigurationError, SluicewayError, StoreUnavailableError
from schemas.settings import GIB, MIB
from sluiceway import file_modes as modes
from sluiceway.commands.options import log_path, store_path
from sluiceway.config import Config, is_loopback
from sluiceway.embedded.child import ENGINE_VERSION, check_engine
from sluiceway.embedded.folder import StoreFolder
from sluiceway.open_files import limits, needed

# Beside the store's own bound: Sluiceway resident under full load, from the project's memory bound of 1.2 GB for both.
_OWN_MEMORY_BYTES = 500 * MIB
_LOW_DISK_BYTES = 2 * GIB
_NO_DISK_BYTES = 256 * MIB
# An event a little ahead is a network's doing; more than this, and one of two clocks is wrong.
_CLOCK_SKEW_S = 5.0
_CONNECT_TIMEOUT_S = 2
# Of files that others may use; how many more there are is one line.
_TOLD_FILES = 10


class Status(enum.StrEnum):
    """OK; WARN: works, but look at it; FAIL: will not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look at one thing. `advice` is '' when there is nothing to do."""

    status: Status
    subject: str
    seen: str
    advice: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """All findings, in the order of a start."""
    yield python()
    yield from packages(config)
    yield memory(config)
    yield open_files(config)
    yield disk(config)
    yield from file_modes(config)
    yield from ports(config)
    yield from store(config)
    yield log(config)
    yield clock()


def python() -> Finding:
    """The interpreter."""
    seen = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.maxsize < 2**32:
        return Finding(Status.FAIL, "python", seen, "use a 64-bit Python")
    return Finding(Status.OK, "python", seen)


def packages(config: Config) -> Iterator[Finding]:
    """The engine in its pinned version (or what replaces it), and what the hot path is compiled with."""
    if config.store.url:
        yield Finding(Status.OK, "engine", "none needed: store.url names a server")
    elif config.store.binary:
        binary = shutil.which(str(config.store.binary))
        if binary is None:
            advice = "correct store.binary, or unset it to use the server in the chdb-core wheel"
            yield Finding(Status.FAIL, "engine", f"{config.store.binary} is no executable file", advice)
        else:
            yield Finding(Status.OK, "engine", f"clickhouse binary {binary}")
    else:
        yield _engine()
    names = ("numba", "numpy", "pyarrow", "grpcio", "clickhouse-connect")
    installed = {name: _version(name) for name in names}
    missing = [name for name, version in installed.items() if version is None]
    if missing:
        yield Finding(
            Status.FAIL, "packages", f"missing: {', '.join(missing)}", "pip install 'sluiceway[embedded]' again"
        )
    else:
        yield Finding(Status.OK, "packages", ", ".join(f"{name} {version}" for name, version in installed.items()))


def _engine() -> Finding:
    try:
        check_engine()
    except ConfigurationError as error:
        return Finding(Status.FAIL, "engine", str(error), "install it, or name a clickhouse binary in store.binary")
    return Finding(Status.OK, "engine", f"chdb-core {ENGINE_VERSION}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def memory(config: Config) -> Finding:
    """Physical memory against the bounds that are set."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = _OWN_MEMORY_BYTES + (0 if config.store.url else config.store.max_memory_bytes)
    seen = f"{total // MIB} MiB, {needed // MIB} MiB needed under full load"
    if total < needed:
        return Finding(Status.WARN, "memory", seen, "lower store.max_memory_bytes or give the machine more")
    return Finding(Status.OK, "memory", seen)


def open_files(config: Config) -> Finding:
    """The bound on open files, as `up` raises it, against all connections that are allowed."""
    soft, most = limits()
    wanted = needed(config)
    seen = f"at most {soft}" + (f", raised to {most} at start" if most > soft else "") + f"; {wanted} may be needed"
    if most < wanted:
        advice = f"raise the hard limit to {wanted}: ulimit -Hn, LimitNOFILE= or ulimits; fewer connections till then"
        return Finding(Status.WARN, "open files", seen, advice)
    return Finding(Status.OK, "open files", seen)


def disk(config: Config) -> Finding:
    """The data folder: there or creatable, writable, with room."""
    folder = config.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        return Finding(
            Status.FAIL, "data folder", f"{existing} is no folder", "name another one: data_dir or --data-dir"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            Status.FAIL, "data folder", f"{existing} is not writable", "change its owner, or name another one"
        )
    free = shutil.disk_usage(existing).free
    seen = f"{folder}, {free / GIB:.1f} GiB free"
    if free < _NO_DISK_BYTES:
        return Finding(
            Status.FAIL, "data folder", seen, "free some space: new requests are refused when the disk is full"
        )
    if free < _LOW_DISK_BYTES:
        return Finding(Status.WARN, "data folder", seen, "free some space, or lower log.max_bytes and the retention")
    return Finding(Status.OK, "data folder", seen)


def file_modes(config: Config) -> Iterator[Finding]:
    """Who but its owner may use what is kept, and files with secrets."""
    found = 0
    for found, (path, seen, mend) in enumerate(modes.wide(config), 1):
        if found <= _TOLD_FILES:
            yield Finding(Status.WARN, "file modes", f"{path}: {seen}", f"run: {mend}")
    if found > _TOLD_FILES:
        mend = f"chmod -R go-rwx {shlex.quote(str(config.data_dir / 'store'))}"
        yield Finding(Status.WARN, "file modes", f"and {found - _TOLD_FILES} more", f"run: {mend}")
    for setting, _, seen, mend in modes.wide_secrets(config):
        found += 1
        # With any other file the pipeline starts: containers of several users may have to share a password.
        status = Status.FAIL if setting == "guard.hash_key_file" else Status.WARN
        yield Finding(status, "secrets", f"{setting}: {seen}, which others may read", mend)
    if not found:
        yield Finding(Status.OK, "file modes", "the data and the secrets are for their owner alone")


def ports(config: Config) -> Iterator[Finding]:
    """Each port: free, held by a Sluiceway that runs here, or in the way."""
    wanted = [
        ("gRPC port", config.ingest.grpc_host, config.ingest.grpc_port, "ingest.grpc_port"),
        ("HTTP port", config.ingest.http_host, config.ingest.http_port, "ingest.http_port"),
    ]
    if not config.store.url:
        wanted.append(("store port", config.store.host, config.store.http_port, "store.http_port"))
    if config.viewer.enabled:
        wanted.append(("viewer port", config.viewer.host, config.viewer.port, "viewer.port"))
    if config.store.native_port:
        wanted.append(("native port", config.store.host, config.store.native_port, "store.native_port"))
    pid = running_pid(config)
    for subject, host, port, setting in wanted:
        seen = f"{host}:{port}"
        problem = None if port == 0 else _refusal_to_bind(host, port)
        if problem is None:
            yield Finding(Status.OK, subject, f"{seen} is free")
        elif problem == "in use" and pid:
            yield Finding(Status.OK, subject, f"{seen} is in use while a Sluiceway runs here (pid {pid})")
        else:
            yield Finding(Status.FAIL, subject, f"{seen}: {problem}", f"stop what listens there, or set {setting}")


def _refusal_to_bind(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return None


def running_pid(config: Config) -> int | None:
    """The process that uses the data folder now. Takes no lock: looking must not refuse a start at the same moment."""
    try:
        pid = int(StoreFolder(store_path(config)).lock.read_text())
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        # The kernel gives a dead process's number to another program in time.
        return pid if not command.exists() or b"sluiceway" in command.read_bytes() else None
    except (OSError, ValueError):
        return None


def store(config: Config) -> Iterator[Finding]:
    """Whether the store answers as the reading user, what it is, and whether its clock and ours agree."""
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    url = config.store.url
    if url and url.startswith("http:") and config.store.password_file and not is_loopback(urlsplit(url).hostname or ""):
        seen = f"{url} carries passwords and rows in the clear"
        yield Finding(Status.WARN, "store url", seen, "use https, or a network that you trust")
    try:
        with StoreAccess.of(config).reader(connect_timeout_s=_CONNECT_TIMEOUT_S) as client:
            asked = time.time()
            version, its_ms = client.query("SELECT version(), toUnixTimestamp64Milli(now64(3))").result_rows[0]
            took = time.time() - asked
            yield Finding(Status.OK, "store", f"answers in {took * 1000:.0f} ms, ClickHouse {version}")
            skew = its_ms / 1000 - asked
            if not -_CLOCK_SKEW_S < skew < took + _CLOCK_SKEW_S:
                yield Finding(Status.WARN, "store clock", f"{skew:+.0f} s from ours", "synchronise both with NTP")
            ahead = (
                client.query("SELECT toUnixTimestamp64Milli(max(Time)) FROM ledger").result_rows[0][0] / 1000
                - time.time()
            )
            if ahead > _CLOCK_SKEW_S:
                seen = f"the newest batch is {ahead:.0f} s ahead of now: the clock was set back"
                yield Finding(Status.WARN, "store clock", seen, "synchronise it with NTP; nothing is lost")
    except StoreUnavailableError as error:
        if config.store.url:
            yield Finding(
                Status.FAIL, "store", str(error), "correct store.*, or mend the server; nothing acked is lost"
            )
        elif running_pid(config):
            advice = "wait while it starts or restarts; ingest goes on acking into the log meanwhile"
            yield Finding(Status.WARN, "store", str(error), advice)
        else:
            yield Finding(Status.OK, "store", "not running")


def log(config: Config) -> Finding:
    """The log: readable, how large, how far behind the store is."""
    if config.kafka.enabled:
        return _log_on_kafka(config)
    from processors.sqlite_log import SqliteLogInspector  # noqa: PLC0415

    path = log_path(config)
    if not path.exists():
        return Finding(Status.OK, "log", f"{path} does not exist yet")
    try:
        inspector = SqliteLogInspector(path)
        try:
            snapshot, size = inspector.snapshot(), inspector.size_bytes()
        finally:
            inspector.close()
    except (SluicewayError, OSError) as error:
        return Finding(Status.FAIL, "log", str(error), f"check owner and disk of {path.parent}; delete nothing there")
    lag, waiting = sum(snapshot.in_flight_items.values()), sum(snapshot.dead_letters.values())
    seen = f"{size / MIB:.0f} of {config.log.max_bytes / MIB:.0f} MiB, {lag} items in flight, {waiting} dead letters"
    if waiting:
        return Finding(Status.WARN, "log", seen, "look at them: sluiceway deadletters list")
    if size > 0.9 * config.log.max_bytes and lag:
        return Finding(
            Status.WARN, "log", seen, "the store does not keep up: see the store's lines, or raise log.max_bytes"
        )
    return Finding(Status.OK, "log", seen)


def _log_on_kafka(config: Config) -> Finding:
    from sluiceway.log_access import LogAccess  # noqa: PLC0415

    access = LogAccess(config)
    try:
        figures = access.figures()
        try:
            seen = figures.figures()
        finally:
            figures.close()
    except SluicewayError as error:
        advice = "check kafka.bootstrap_servers and its credentials; ingest makes the topics at its first request"
        return Finding(Status.FAIL, "log", f"{access.where}: {error}", advice)
    lag, waiting = sum(seen.log.in_flight_records.values()), sum(seen.log.dead_letters.values())
    text = f"{access.where}: {len(seen.log.progress)} partitions, {lag} records in flight, {waiting} dead letters"
    if waiting:
        return Finding(Status.WARN, "log", text, "look at them: sluiceway deadletters list")
    return Finding(Status.OK, "log", text)


def clock(now_s: float | None = None) -> Finding:
    """The wall clock against the newest file of our own installation: it cannot be older than the code."""
    now = time.time() if now_s is None else now_s
    built = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    seen = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(now))
    if now < built - 86400:
        return Finding(Status.FAIL, "clock", f"{seen} is before this program was installed", "set the clock, use NTP")
    return Finding(Status.OK, "clock", seen)
