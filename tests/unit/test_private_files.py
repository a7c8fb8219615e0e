"""What holds telemetry is for its owner alone, whatever the umask; links and others' files are left."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.alerts.incidents import IncidentFile
from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from schemas.log import Entry
from schemas.private_files import make_database, make_file, make_folder, narrow, narrow_below, narrow_folder, walk
from schemas.settings import LogSettings
from sluiceway.embedded.folder import StoreFolder


@pytest.fixture(params=[0o000, 0o022, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> set[str]:
    """The modes of folders and files below a folder, each with its kind."""
    return {f"{'d' if stat.S_ISDIR(found.st_mode) else 'f'} {found.st_mode & 0o777:03o}" for _, found in walk(folder)}


PRIVATE = {"d 700", "f 600"}


@pytest.mark.usefixtures("umask")
def test_the_log_and_all_files_beside_it_are_for_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "data" / "log" / "log.sqlite"
    writer = SqliteLogWriter(path, LogSettings(), disk_reserve_bytes=0)
    writer.append([Entry("otlp_logs", b"a record", items=1, received_at_ns=1)])
    reader = SqliteLogReader(path, "otlp_logs")
    assert {at.name for at in path.parent.iterdir()} >= {"log.sqlite", "log.sqlite-wal", "log.sqlite-shm"}
    assert modes(tmp_path / "data") == PRIVATE
    reader.close()
    writer.close()


@pytest.mark.usefixtures("umask")
def test_incidents_and_the_stores_folder_are_for_their_owner(tmp_path: Path) -> None:
    incidents = IncidentFile(tmp_path / "data" / "incidents.sqlite", create=True)
    incidents.save_pending([])
    store = StoreFolder(tmp_path / "data" / "store")
    store.create()
    store.writer_secret()
    assert modes(tmp_path / "data") == PRIVATE
    incidents.close()


def test_a_log_of_an_earlier_release_is_narrowed_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "log" / "log.sqlite"
    writer = SqliteLogWriter(path, LogSettings(), disk_reserve_bytes=0)
    writer.append([Entry("otlp_logs", b"a record", items=1, received_at_ns=1)])
    # As after a kill: with a write-ahead log.
    left = {at.name: at.read_bytes() for at in path.parent.iterdir()}
    writer.close()
    for name, content in left.items():
        (path.parent / name).write_bytes(content)
        (path.parent / name).chmod(0o644)
    path.parent.chmod(0o755)

    writer = SqliteLogWriter(path, LogSettings(), disk_reserve_bytes=0)
    assert modes(path.parent) == PRIVATE
    writer.append([Entry("otlp_logs", b"another", items=1, received_at_ns=1)])
    writer.close()


def test_narrowing_keeps_the_locks_of_an_open_log(tmp_path: Path) -> None:
    """To close a file gives up all locks of a process on it, so that SQLite's file must never be opened beside it."""
    path = tmp_path / "log.sqlite"
    make_database(path)
    descriptor = os.open(path, os.O_RDWR)
    os.lockf(descriptor, os.F_LOCK, 0)
    path.chmod(0o644)
    make_database(path)
    assert path.stat().st_mode & 0o777 == 0o600
    if (child := os.fork()) == 0:
        try:
            os.lockf(os.open(path, os.O_RDWR), os.F_TLOCK, 0)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    os.close(descriptor)


@given(mode=st.integers(0, 0o7777), folder=st.booleans())
@settings(max_examples=60, deadline=None)
def test_narrowing_takes_from_others_and_gives_nothing(
    tmp_path_factory: pytest.TempPathFactory, mode: int, folder: bool
) -> None:
    at = tmp_path_factory.mktemp("mode") / "x"
    if folder:
        at.mkdir()
    else:
        at.touch()
    at.chmod(mode)
    allowed = at.stat().st_mode
    assert narrow(at)
    assert at.stat().st_mode == allowed & ~0o077
    at.chmod(0o700)


def test_links_and_others_files_are_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (theirs / "file").touch(mode=0o644)
    ours = tmp_path / "ours"
    make_folder(ours)
    (ours / "link").symlink_to(theirs)
    (ours / "database").symlink_to(theirs / "file")
    os.mkfifo(ours / "fifo", 0o644)
    assert not narrow(ours / "link")
    assert not narrow(ours / "fifo")
    make_database(ours / "database")
    assert narrow_below(ours) == 0
    assert modes(theirs) == {"d 755", "f 644"}
    if os.geteuid() == 0:
        os.chown(theirs / "file", 65534, 65534)
        assert not narrow(theirs / "file")
        assert (theirs / "file").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_holds_something_else_is_somebodys(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "log.sqlite").touch()
    assert narrow_folder(tmp_path, lambda name: name.startswith("log"))
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    assert not narrow_folder(tmp_path, lambda name: name.startswith("log"))
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_folder(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(OSError, match="absent"):
        make_file(tmp_path / "absent" / "file")
