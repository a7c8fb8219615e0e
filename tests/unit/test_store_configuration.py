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
from sluiceway.embedded.backend import SECRET_HEADER, Backend
from sluiceway.embedded.child import ENGINE_VERSION, Child, check_engine, check_host
from sluiceway.embedded.configuration import config_xml
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.gate_child import GateChild
from sluiceway.embedded.store import BACKOFF_MAX_S, EmbeddedStore, backoff_s
from sluiceway.embedded.users import INTERNAL_USERS, READERS, users_xml

BACKEND = Backend("127.0.0.1", 18123, 19000, "the-gate", dict.fromkeys(INTERNAL_USERS, "a-password"))
WITHOUT_NATIVE = Backend("127.0.0.1", 18123, None, "the-gate", BACKEND.passwords)


def users(settings: StoreSettings | None = None, *, entry_statements: int = 3) -> str:
    return users_xml(settings or StoreSettings(), "the-secret", BACKEND.passwords, entry_statements=entry_statements)


def text(document: str, path: str) -> str | None:
    return ET.fromstring(document).findtext(path)  # noqa: S314


def grants(document: str, user: str) -> list[str | None]:
    return [query.text for query in ET.fromstring(document).iterfind(f"users/{user}/grants/query")]  # noqa: S314


def test_the_server_is_configured_from_settings(tmp_path: Path) -> None:
    settings = StoreSettings(http_port=1, native_port=2, max_memory_bytes=512 * 1024 * 1024)
    document = config_xml(StoreFolder(tmp_path), settings, BACKEND)
    assert text(document, "listen_host") == "127.0.0.1"
    # The ports of this start; those of the settings are the gate's.
    assert text(document, "http_port") == "18123"
    assert text(document, "tcp_port") == "19000"
    assert text(document, "max_server_memory_usage") == str(512 * 1024 * 1024)
    assert text(document, "merge_tree/fsync_after_insert") == "1"
    assert text(document, "users_config") == str(tmp_path / "server" / "users.xml")


def test_every_page_of_the_server_asks_for_the_secret_of_this_start(tmp_path: Path) -> None:
    document = config_xml(StoreFolder(tmp_path), StoreSettings(), BACKEND)
    rules = ET.fromstring(document).findall("http_handlers/rule")  # noqa: S314
    assert [rule.findtext("url") for rule in rules] == ["/ping", "/"]
    assert {rule.findtext(f"headers/{SECRET_HEADER}") for rule in rules} == {"the-gate"}


def test_each_start_has_ports_and_secrets_of_its_own() -> None:
    first, second = (Backend.fresh("127.0.0.1", native=True) for _ in range(2))
    assert set(first.passwords) == set(INTERNAL_USERS)
    secrets = [*first.passwords.values(), first.secret, *second.passwords.values(), second.secret]
    assert len(set(secrets)) == len(secrets)
    assert Backend.fresh("127.0.0.1", native=False).native_port is None


def test_what_opens_the_engine_is_kept_for_the_owner_only(tmp_path: Path) -> None:
    BACKEND.write(tmp_path / "backend.json")
    assert stat.S_IMODE((tmp_path / "backend.json").stat().st_mode) == 0o600
    assert Backend.read(tmp_path / "backend.json") == BACKEND
    assert Backend.read(tmp_path / "absent") is None


def test_the_native_port_stays_closed_unless_asked_for(tmp_path: Path) -> None:
    assert text(config_xml(StoreFolder(tmp_path), StoreSettings(), WITHOUT_NATIVE), "tcp_port") is None


def test_values_are_escaped(tmp_path: Path) -> None:
    odd = tmp_path / "a & <b>"
    assert text(config_xml(StoreFolder(odd), StoreSettings(), BACKEND), "path") == f"{odd}/data/"


def test_no_password_is_in_a_file_of_the_server(tmp_path: Path) -> None:
    document = users()
    assert "the-secret" not in document
    assert "a-password" not in document
    assert text(document, "users/sluiceway/password_sha256_hex") == hashlib.sha256(b"the-secret").hexdigest()
    assert "the-secret" not in config_xml(StoreFolder(tmp_path), StoreSettings(), BACKEND)


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_is_bounded_by_the_settings(reader: str) -> None:
    settings = StoreSettings(reader_max_execution_s=7, reader_max_memory_bytes=64 * 1024 * 1024, reader_max_threads=1)
    document = users(settings)
    for name, value in (("max_execution_time", 7), ("max_memory_usage", 64 * 1024 * 1024), ("max_threads", 1)):
        assert text(document, f"profiles/{reader}/{name}") == str(value)
        assert text(document, f"profiles/{reader}/constraints/{name}/max") == str(value)
        assert text(document, f"profiles/{reader}/constraints/{name}/min") == "1"


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_changes_what_is_named_and_nothing_else(reader: str) -> None:
    profile = ET.fromstring(users()).find(f"profiles/{reader}")  # noqa: S314
    assert profile is not None
    assert profile.findtext("readonly") == "1"
    constraints = profile.find("constraints")
    assert constraints is not None
    assert all(
        bound.find("changeable_in_readonly") is not None or bound.find("const") is not None for bound in constraints
    )
    assert not [
        bound.tag
        for bound in constraints
        if any(word in bound.tag for word in ("path", "schema", "file", "disk", "url", "directory", "cache", "user"))
        and bound.tag != "max_memory_usage_for_user"
    ]


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_may_only_look(reader: str) -> None:
    granted = grants(users(StoreSettings(database="telemetry")), reader)
    assert granted[0] == "GRANT SELECT, SHOW, dictGet ON telemetry.*"
    assert all(grant is not None and grant.startswith("GRANT SELECT ON system.") for grant in granted[1:])


def test_the_entrys_own_user_has_no_statement_left() -> None:
    document = users(entry_statements=3)
    assert grants(document, "default") == ["GRANT SYSTEM LISTEN ON *.*", "GRANT INSERT ON entry.pipe"]
    assert text(document, "users/default/profile") == text(document, "users/default/quota") == "entry"
    assert text(document, "quotas/entry/interval/queries") == "3"
    assert text(document, "profiles/entry/max_ast_elements") == "4"
    assert ET.fromstring(document).find("profiles/entry/constraints/max_ast_elements/const") is not None  # noqa: S314


def test_a_binary_has_no_user_without_a_password() -> None:
    root = ET.fromstring(users(entry_statements=0))  # noqa: S314
    assert root.find("users/default") is None
    assert all(user.findtext("password_sha256_hex") for user in root.iterfind("users/*"))


def test_the_wheels_child_is_started_with_our_pid_and_its_ports(tmp_path: Path) -> None:
    child = Child(StoreFolder(tmp_path), StoreSettings())
    launcher = [sys.executable, "-P", "-m", "sluiceway.embedded.engine", str(os.getpid()), str(tmp_path)]
    assert child.command("prepare") == [*launcher, "prepare"]
    assert child.command("serve", BACKEND) == [*launcher, "serve-native", "18123", "19000"]
    assert child.command("serve", WITHOUT_NATIVE) == [*launcher, "serve", "18123"]


def test_a_named_binary_is_started_as_a_server_through_the_launcher(tmp_path: Path) -> None:
    child = Child(StoreFolder(tmp_path), StoreSettings(binary=Path("/opt/clickhouse")))
    assert child.command("serve", BACKEND)[6:] == [
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
    assert f"chdb-core=={ENGINE_VERSION}" in project["project"]["optional-dependencies"]["embedded"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "store.example"])  # noqa: S104
def test_an_address_beyond_loopback_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.host: must be a loopback address"):
        check_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_a_loopback_address_is_taken(host: str) -> None:
    check_host(host)


def test_a_taken_port_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gate = GateChild(StoreFolder(tmp_path), StoreSettings(http_port=port))
        with pytest.raises(ConfigurationError) as refused:
            gate.listen()
        gate.close()
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
