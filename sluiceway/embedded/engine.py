"""The store child, `python -m sluiceway.embedded.engine PARENT_PID FOLDER MODE`: ClickHouse while stdin is open.

MODE is `prepare` (make the table that `serve` waits on, then exit), `serve` (listen), `serve-native` (listen on
native TCP too) or `exec BINARY ARGUMENT...` (become a `clickhouse` binary). This is the only module that imports chdb:
one engine entry per process is all that the wheel allows, and it must never be ours.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import importlib.util
import os
import select
import signal
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import ModuleType

from schemas.private_files import UMASK, narrow_below
from sluiceway.embedded.confine import confine
from sluiceway.embedded.deduplication import mend
from sluiceway.embedded.file_pages import STARTED_S, drop
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.foreign import set_aside, tell

PR_SET_PDEATHSIG = 1
WAIT_FOR_PREDECESSOR_S = 60.0

# `serve` blocks in an INSERT that reads standard input. Reading through file('-') instead would need FILE granted to
# `default`, the one user that the entry can run as, and a SELECT, which does not fit into what it may say (users.py).
PREPARE = """
CREATE DATABASE IF NOT EXISTS entry ENGINE = Atomic;
CREATE TABLE IF NOT EXISTS entry.pipe (line String) ENGINE = Null
"""
LISTEN_HTTP = "SYSTEM START LISTEN HTTP;\n"
LISTEN_NATIVE = "SYSTEM START LISTEN TCP;\n"
WAIT_FOR_EOF = "INSERT INTO entry.pipe FROM INFILE '/dev/stdin' FORMAT LineAsString"

STATEMENTS = {
    "prepare": PREPARE,
    "serve": LISTEN_HTTP + WAIT_FOR_EOF,
    "serve-native": LISTEN_HTTP + LISTEN_NATIVE + WAIT_FOR_EOF,
}


def statements_of_entry(*, native: bool) -> int:
    """How many statements `serve` runs; more than these `default` may not say."""
    return STATEMENTS["serve-native" if native else "serve"].count(";") + 1


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill us when the thread that started us ends; elsewhere end of standard input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before prctl took hold: then no signal will ever come.
    if os.getppid() != parent_pid:
        os._exit(1)


def lock_engine(folder: StoreFolder, timeout_s: float) -> None:
    """Hold the engine lock for the life of this process (and of the binary it may become).

    Two engines on one folder corrupt it, and a predecessor whose parent was killed may still be on its way out.
    """
    descriptor = os.open(folder.engine_lock, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                sys.exit(f"another engine still uses {folder.data} after {timeout_s:.0f} s")
            time.sleep(0.05)
        else:
            return


def load_engine() -> ModuleType:
    """The engine's extension module, without the package around it.

    `import chdb` would open and close an engine of its own: 0.3 s, and only a process's first engine can write a log.
    """
    specification = importlib.util.find_spec("chdb")
    if specification is None or not specification.submodule_search_locations:
        sys.exit("the package chdb is not installed")
    location = specification.submodule_search_locations[0]
    package = ModuleType("chdb")
    package.__path__ = [location]
    sys.modules["chdb"] = package
    # The engine's memory allocator must win over one that another library brought in, as the package itself arranges.
    ctypes.CDLL(str(Path(location) / "_chdb.abi3.so"), mode=sys.getdlopenflags() | getattr(os, "RTLD_DEEPBIND", 0))
    return importlib.import_module("chdb._chdb")


def writable_paths(folder: StoreFolder) -> list[Path]:
    """What the engine must write. The writer's secret is not below any of them."""
    return [folder.data, folder.prepare, Path("/dev/null")]


def readable_paths(folder: StoreFolder) -> list[Path]:
    """What the engine must read: its configuration, Python's libraries, the kernel's figures about memory and load."""
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    figures = (
        "self",
        "cpuinfo",
        "loadavg",
        "meminfo",
        "mounts",
        "stat",
        "uptime",
        "vmstat",
        "diskstats",
        "net/dev",
        "sys/kernel",
    )
    return [
        folder.server,
        *(Path(library) for library in sorted(libraries)),
        *(Path("/proc") / figure for figure in figures),
        Path("/sys/fs/cgroup"),
        Path("/sys/devices/system"),
        Path("/sys/block"),
        Path("/etc/localtime"),
        Path("/usr/share/zoneinfo"),
        Path("/dev/urandom"),
    ]


def run(folder: StoreFolder, mode: str, ports: list[int]) -> int:
    """Run the engine until its statements end; returns the exit code."""
    engine = load_engine()
    # After loading, before the first query makes threads: what a thread gives up holds for those that it starts.
    confine(
        writable=writable_paths(folder),
        readable=readable_paths(folder),
        # Queries of everybody stand in them, with what they asked for.
        written_only=[folder.logs],
        ports=ports,
    )
    os.chdir(folder.prepare if mode == "prepare" else folder.server)
    if mode != "prepare":
        threading.Thread(target=_drop_what_only_a_start_runs, name="file-pages", daemon=True).start()
    try:
        # The output format of the entry becomes the default format of the HTTP server.
        engine.query(STATEMENTS[mode], "TabSeparated", path=str(folder.data))
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
    # The entry prints most errors instead of reporting them, and one at every orderly end: the INSERT that waits
    # outlives the time limit of `default`. So what counts is whether it did what it is for.
    if mode == "prepare":
        return 0 if folder.prepared.exists() else 1
    return 0 if at_end_of_file(0) else 1


def _drop_what_only_a_start_runs() -> None:
    time.sleep(STARTED_S)
    drop("_chdb.")


def at_end_of_file(descriptor: int) -> bool:
    """Whether the other end of a pipe that nobody writes to was closed."""
    readable, _, _ = select.select([descriptor], [], [], 0)
    return bool(readable) and os.read(descriptor, 1) == b""


def main(arguments: list[str]) -> int:
    """Entry of the child; `arguments` are PARENT_PID FOLDER MODE, then PORT... or BINARY ARGUMENT... ."""
    parent_pid, folder, mode = int(arguments[0]), StoreFolder(Path(arguments[1])), arguments[2]
    die_with_parent(parent_pid)
    lock_engine(folder, WAIT_FOR_PREDECESSOR_S)
    os.umask(UMASK)
    # Under the lock: nobody writes the data now. First what is foreign: what comes next expects the engine's own files.
    narrow_below(folder.root)
    tell(folder, set_aside(folder, engines_known=mode != "exec"))
    mended = mend(folder.data, folder.prepare)
    if mended.forgotten or mended.cut_short:
        sys.stderr.write(
            f"{mended.forgotten} deduplication tokens without a part forgotten, {mended.cut_short} records cut short\n"
        )
    if mode == "exec":
        os.chdir(folder.root)
        os.execv(arguments[3], arguments[3:])  # noqa: S606
    return run(folder, mode, [int(port) for port in arguments[3:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
