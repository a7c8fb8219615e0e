"""What the store is told before it starts: its files, its command line, and what is refused."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import socket
import stat
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.settings import StoreSettings
from sluiceway.embedded.child import ENGINE_VERSION, Child, check_engine, check_host, check_port
from sluiceway.embedded.configuration import config_xml, users_xml
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import BACKOFF_MAX_S, EmbeddedStore, backoff_s


def text(document: str, path: str) -> str | None:
    return ET.fromstring(document).findtext(path)  # noqa: S314


def grants(document: str, user: str) -> list[str | None]:
    return [query.text for query in ET.fromstring(document).iterfind(f"users/{user}/grants/query")]  # noqa: S314


def test_the_server_is_configured_from_settings(tmp_path: Path) -> None:
    settings = StoreSettings(http_port=18123, native_port=19000, max_memory_bytes=512 * 1024 * 1024)
    document = config_xml(StoreFolder(tmp_path), settings)
    assert text(document, "listen_host") == "127.0.0.1"
    assert text(document, "http_port") == "18123"
    assert text(document, "tcp_port") == "19000"
    assert text(document, "max_server_memory_usage") == str(512 * 1024 * 1024)
    assert text(document, "merge_tree/fsync_after_insert") == "1"
    assert text(document, "users_config") == str(tmp_path / "server" / "users.xml")


def test_the_native_port_stays_closed_unless_asked_for(tmp_path: Path) -> None:
    assert text(config_xml(StoreFolder(tmp_path), StoreSettings()), "tcp_port") is None


def test_values_are_escaped(tmp_path: Path) -> None:
    odd = tmp_path / "a & <b>"
    assert text(config_xml(StoreFolder(odd), StoreSettings()), "path") == f"{odd}/data/"


def test_the_writers_secret_is_in_no_file_of_the_server(tmp_path: Path) -> None:
    users = users_xml(StoreSettings(), "the-secret", entry_runs_as_default=True)
    assert "the-secret" not in users
    digest = hashlib.sha256(b"the-secret").hexdigest()
    assert text(users, "users/sluiceway/password_sha256_hex") == digest
    assert "the-secret" not in config_xml(StoreFolder(tmp_path), StoreSettings())


def test_the_reader_is_bounded_by_the_settings() -> None:
    settings = StoreSettings(reader_max_execution_s=7, reader_max_memory_bytes=64 * 1024 * 1024, reader_max_threads=1)
    users = users_xml(settings, "s", entry_runs_as_default=True)
    for name, value in (("max_execution_time", 7), ("max_memory_usage", 64 * 1024 * 1024), ("max_threads", 1)):
        assert text(users, f"profiles/reader/{name}") == str(value)
        assert text(users, f"profiles/reader/constraints/{name}/max") == str(value)
        assert text(users, f"profiles/reader/constraints/{name}/min") == "1"


def test_every_limit_of_the_reader_is_also_a_bound() -> None:
    profile = ET.fromstring(users_xml(StoreSettings(), "s", entry_runs_as_default=False)).find("profiles/reader")  # noqa: S314
    assert profile is not None
    constraints = profile.find("constraints")
    assert constraints is not None
    limits = {child.tag for child in profile} - {"constraints"}
    # These two bound themselves: ClickHouse lets nobody set them back.
    assert limits - {"readonly", "allow_ddl"} == {bound.tag for bound in constraints}


def test_a_binary_is_configured_with_a_read_only_reader() -> None:
    users = users_xml(StoreSettings(), "s", entry_runs_as_default=False)
    assert text(users, "profiles/reader/readonly") == "2"
    assert not [grant for grant in grants(users, "default") if grant is None or "LISTEN" in grant or "entry" in grant]


def test_the_wheels_reader_may_write_only_where_nothing_is_kept() -> None:
    granted = grants(users_xml(StoreSettings(database="telemetry"), "s", entry_runs_as_default=True), "default")
    writing = [grant for grant in granted if grant is None or not grant.startswith("GRANT SELECT")]
    assert writing == ["GRANT SYSTEM LISTEN ON *.*", "GRANT INSERT ON entry.pipe"]
    assert granted[0] == "GRANT SELECT, SHOW, dictGet ON telemetry.*"


def test_the_wheels_child_is_started_with_our_pid_and_its_ports(tmp_path: Path) -> None:
    child = Child(StoreFolder(tmp_path), StoreSettings(http_port=1234, native_port=5678))
    launcher = [sys.executable, "-P", "-m", "sluiceway.embedded.engine", str(os.getpid()), str(tmp_path)]
    assert child.command("prepare") == [*launcher, "prepare"]
    assert child.command("serve") == [*launcher, "serve-native", "1234", "5678"]
    assert Child(StoreFolder(tmp_path), StoreSettings()).command("serve") == [*launcher, "serve", "8123"]


def test_a_named_binary_is_started_as_a_server_through_the_launcher(tmp_path: Path) -> None:
    child = Child(StoreFolder(tmp_path), StoreSettings(binary=Path("/opt/clickhouse")))
    assert child.command("serve")[6:] == [
        "exec",
        "/opt/clickhouse",
        "server",
        f"--config-file={tmp_path}/server/config.xml",
    ]


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({}, "received no chdb-core at all"),
        ({"chdb-core": "26.8.1"}, "received chdb-core 26.8.1"),
        ({"chdb-core": ENGINE_VERSION, "chdb-core-lite": "26.5.0"}, "received chdb-core-lite 26.5.0"),
    ],
)
def test_an_engine_that_cannot_serve_is_refused_with_what_to_install(
    installed: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ConfigurationError) as refused:
        check_engine()
    assert expected in str(refused.value)
    assert f'pip install "chdb-core=={ENGINE_VERSION}"' in str(refused.value)


def test_the_engine_that_is_installed_here_is_the_one_that_is_pinned() -> None:
    check_engine()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["optional-dependencies"]["embedded"] == [f"chdb-core=={ENGINE_VERSION}"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "store.example"])  # noqa: S104
def test_an_address_beyond_loopback_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.host: must be a loopback address"):
        check_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_a_loopback_address_is_taken(host: str) -> None:
    check_host(host)


def test_a_taken_port_is_refused_by_the_name_of_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as refused:
            check_port("127.0.0.1", port, "http_port")
    message = str(refused.value)
    assert f"store.http_port: must be a free port on 127.0.0.1, received {port}" in message
    assert "SLUICEWAY_STORE__HTTP_PORT" in message


def test_the_secret_is_made_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path)
    first = folder.writer_secret()
    assert len(first) >= 32
    assert folder.writer_secret() == first
    assert stat.S_IMODE(folder.secret.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigurationError, match="data folder: must be writable"):
        EmbeddedStore(tmp_path / "file" / "store", StoreSettings()).start()


def test_delays_between_restarts_grow_to_a_bound_and_are_spread() -> None:
    for attempt in range(20):
        full = min(BACKOFF_MAX_S, 0.2 * 2**attempt)
        delays = {backoff_s(attempt) for _ in range(20)}
        assert full / 2 <= min(delays) <= max(delays) <= full
        assert len(delays) > 1
