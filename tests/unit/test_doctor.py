"""The doctor tells apart what works, what to look at and what fails, and always says what to do."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import pytest

from ingest.settings import IngestSettings
from schemas.settings import GIB, LogSettings, StoreSettings
from sluiceway import doctor
from sluiceway.config import Config
from sluiceway.doctor import Status
from sluiceway.embedded.child import ENGINE_VERSION
from tests.conftest import free_port


def config(folder: Path, **ports: int) -> Config:
    return Config(
        data_dir=folder,
        ingest=IngestSettings(grpc_port=ports.get("grpc", free_port()), http_port=ports.get("http", free_port())),
        store=StoreSettings(http_port=ports.get("store", free_port())),
        viewer={"port": free_port()},
    )


def test_a_fresh_folder_on_a_fit_machine_fails_nothing(tmp_path: Path) -> None:
    findings = list(doctor.examine(config(tmp_path)))

    assert [finding for finding in findings if finding.status is Status.FAIL] == []
    assert [f.seen for f in findings if f.subject == "store"] == ["not running"]
    assert [f.seen for f in findings if f.subject == "log"] == [f"{tmp_path}/log/log.sqlite does not exist yet"]


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_NO_DISK_BYTES", 1 << 60)
    monkeypatch.setattr(doctor, "_OWN_MEMORY_BYTES", 1 << 60)
    findings = [f for f in doctor.examine(config(tmp_path)) if f.status is not Status.OK]

    assert {f.subject for f in findings} == {"memory", "data folder"}
    assert all(f.advice for f in findings)


def test_a_port_that_something_else_holds_fails_and_names_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        findings = {f.subject: f for f in doctor.ports(config(tmp_path, grpc=port))}

    assert findings["gRPC port"].status is Status.FAIL
    assert findings["gRPC port"].seen == f"127.0.0.1:{port}: in use"
    assert findings["gRPC port"].advice == "stop what listens there, or set ingest.grpc_port"
    assert findings["HTTP port"].status is Status.OK


def test_a_data_folder_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    assert doctor.disk(Config(data_dir=tmp_path / "data")).status is Status.FAIL


def test_a_data_folder_that_does_not_exist_yet_is_looked_at_where_it_will_be(tmp_path: Path) -> None:
    found = doctor.disk(Config(data_dir=tmp_path / "a" / "b"))

    assert found.status is Status.OK
    assert found.seen.startswith(f"{tmp_path}/a/b, ")


@pytest.mark.parametrize(("free", "status"), [(0, Status.FAIL), (GIB, Status.WARN), (100 * GIB, Status.OK)])
def test_little_free_space_is_told(free: int, status: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)

    assert doctor.disk(Config(data_dir=tmp_path)).status is status


def test_a_log_that_is_no_log_fails(tmp_path: Path) -> None:
    file = tmp_path / "log.sqlite"
    file.write_bytes(b"not a database at all" * 100)

    found = doctor.log(Config(data_dir=tmp_path, log=LogSettings(path=file)))

    assert found.status is Status.FAIL
    assert "delete nothing there" in found.advice


def test_a_binary_that_does_not_exist_fails(tmp_path: Path) -> None:
    settings = Config(data_dir=tmp_path, store=StoreSettings(binary=tmp_path / "clickhouse"))

    assert next(iter(doctor.packages(settings))).status is Status.FAIL


def test_a_clock_before_the_installation_fails() -> None:
    assert doctor.clock(0.0).status is Status.FAIL
    assert doctor.clock().status is Status.OK


def test_the_doctor_writes_nothing(tmp_path: Path) -> None:
    list(doctor.examine(config(tmp_path / "data")))

    assert list(tmp_path.iterdir()) == []


def test_the_engine_that_is_checked_for_is_the_one_that_is_installed() -> None:
    project = tomllib.loads((Path(doctor.__file__).parent.parent / "pyproject.toml").read_text())["project"]

    assert f"chdb-core=={ENGINE_VERSION}" in project["optional-dependencies"]["embedded"]
