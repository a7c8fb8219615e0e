"""A key that others may read is refused; the doctor names what others may use and the command that mends it."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from processors.settings import GuardSettings
from schemas.errors import ConfigurationError
from schemas.kafka_settings import KafkaSettings
from schemas.settings import StoreSettings
from sluiceway import doctor, secret_files
from sluiceway.config import Config
from sluiceway.consuming import hash_key
from sluiceway.doctor import Status
from sluiceway.file_modes import keep_private

KEY = b"a key of sixteen bytes"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def entered() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def may_read(file: Path, user: int, group: int) -> bool:
    """Whether somebody may, by the kernel's own account."""
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            file.open("rb").close()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@as_root
@pytest.mark.parametrize("owner", [0, 10001])
def test_no_key_is_taken_that_the_kernel_lets_others_read(entered: Path, owner: int) -> None:
    file = entered / "key"
    for user, group, others in product(range(4, 8), range(8), range(8)):
        file.unlink(missing_ok=True)
        file.write_bytes(KEY)
        os.chown(file, owner, 10001)
        file.chmod(user << 6 | group << 3 | others)
        try:
            taken = hash_key(file) == KEY
        except ConfigurationError as error:
            taken = False
            assert f"got mode 0{user}{group}{others} of {file}; run: chmod 0400 {file}" in str(error)  # noqa: PT017
        # What Kubernetes mounts, root's and readable by the group of the pod, is taken; so is a private file.
        assert taken == (group in (0, 4) and others == 0), oct(file.stat().st_mode)
        assert not (taken and may_read(file, NOBODY, NOBODY))


@as_root
def test_a_key_of_our_own_is_for_us_alone_and_one_that_is_lent_for_our_group(entered: Path) -> None:
    file = entered / "key"
    file.write_bytes(KEY)
    for owner, mode, taken in (
        (10001, 0o400, True), (10001, 0o600, True), (10001, 0o440, False), (10001, 0o444, False),
        (0, 0o440, True), (0, 0o640, True), (0, 0o444, False), (0, 0o460, False), (1000, 0o440, True),
    ):  # fmt: skip
        os.chown(file, owner, 10001)
        file.chmod(mode)
        if (child := os.fork()) == 0:
            os.setgroups([])
            os.setgid(10001)
            os.setuid(10001)
            try:
                hash_key(file)
            except ConfigurationError:
                os._exit(1)
            os._exit(0)
        assert (os.waitpid(child, 0)[1] == 0) == taken, (owner, oct(mode))


def test_a_key_is_read_through_a_link_as_kubernetes_lays_it(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "key").write_bytes(KEY)
    (tmp_path / "key").symlink_to("..data/key")
    (tmp_path / "..data" / "key").chmod(0o444)
    with pytest.raises(ConfigurationError, match="must be readable by its owner alone; got mode 0444"):
        hash_key(tmp_path / "key")
    (tmp_path / "..data" / "key").chmod(0o400)
    assert hash_key(tmp_path / "key") == KEY


def findings(config: Config) -> list[doctor.Finding]:
    return [finding for finding in doctor.file_modes(config) if finding.status is not Status.OK]


def test_the_doctor_names_what_is_wide_and_its_commands_mend_it(tmp_path: Path) -> None:
    data = tmp_path / "it's data"
    for folder in ("log", "store/data", "store/logs", "secrets"):
        (data / folder).mkdir(parents=True)
    names = ("log/log.sqlite", "log/log.sqlite-wal", "store/data/part", "store/logs/store.log", "incidents.sqlite")
    for name in names:
        (data / name).touch()
    # Of others' containers, in a folder that only its owner enters.
    (data / "secrets" / "grafana_admin").touch()
    for path in (data, *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (data / "secrets").chmod(0o700)
    config = Config(data_dir=data)

    found = findings(config)
    assert {finding.seen.partition(": ")[0] for finding in found} == {
        str(data / name) for name in ("", "log", "store", "store/data", "store/logs", *names)
    }
    assert all(finding.status is Status.WARN for finding in found)
    for finding in found:
        subprocess.run(shlex.split(finding.advice.removeprefix("run: ")), check=True)
    assert findings(config) == []
    assert [finding.status for finding in doctor.file_modes(config)] == [Status.OK]


def test_of_many_wide_files_the_doctor_tells_ten_and_how_many_more(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    for number in range(25):
        (tmp_path / "store" / f"part {number}").touch(mode=0o644)
        (tmp_path / "store" / f"part {number}").chmod(0o644)
    found = findings(Config(data_dir=tmp_path))
    assert [len(found), found[-1].seen] == [11, "and 15 more"]
    subprocess.run(shlex.split(found[-1].advice.removeprefix("run: ")), check=True)
    assert findings(Config(data_dir=tmp_path)) == []


@as_root
def test_the_doctor_names_what_belongs_to_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 10001, 10001)
    (tmp_path / "incidents.sqlite").touch(mode=0o600)
    [found] = findings(Config(data_dir=tmp_path))
    assert "belongs to root, the folder to 10001" in found.seen
    subprocess.run(shlex.split(found.advice.removeprefix("run: ")), check=True)
    assert findings(Config(data_dir=tmp_path)) == []


def test_the_doctor_looks_at_every_file_with_a_secret(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    names = {}
    for name in ("hash", "writer", "reader", "viewer", "kafka", "certificate"):
        names[name] = tmp_path / name
        names[name].write_bytes(KEY)
        names[name].chmod(0o644)
    config = Config(
        data_dir=tmp_path,
        guard=GuardSettings(hash_key_file=names["hash"]),
        store=StoreSettings(
            url="http://127.0.0.1:1", user="a", password_file=names["writer"],
            reader_user="b", reader_password_file=names["reader"],
            readers={"viewer": {"user": "c", "password_file": names["viewer"]}},
        ),
        kafka=KafkaSettings(
            bootstrap_servers=["k:1"], security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="u",
            sasl_password_file=names["kafka"], ssl_certfile=names["certificate"], ssl_keyfile=names["certificate"],
        ),
    )  # fmt: skip
    found = {finding.seen.partition(": ")[0]: finding for finding in findings(config)}
    assert {name: finding.status for name, finding in found.items()} == {
        "guard.hash_key_file": Status.FAIL,
        "store.password_file": Status.WARN, "store.reader_password_file": Status.WARN,
        "store.readers.viewer.password_file": Status.WARN,
        "kafka.sasl_password_file": Status.WARN, "kafka.ssl_keyfile": Status.WARN,
    }  # fmt: skip
    for finding in found.values():
        subprocess.run(shlex.split(finding.advice.removeprefix("run: ")), check=True)
    assert findings(config) == []


def test_every_setting_of_a_secret_file_is_found_by_its_name() -> None:
    """A new one of another name would be overlooked: this is the whole list of files that settings name."""
    files: set[str] = set()

    def collect(model: type, prefix: str) -> None:
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    collect(kind, f"{prefix}{name}.")
                elif kind is Path:
                    files.add(f"{prefix}{name}")

    collect(Config, "")
    secrets = {name for name in files if secret_files._SECRET.search(name)}
    assert secrets == {
        "guard.hash_key_file", "store.password_file", "store.reader_password_file", "kafka.sasl_password_file",
        "kafka.ssl_keyfile", "store.readers.password_file",
    }  # fmt: skip
    assert files - secrets == {
        "data_dir", "log.path", "store.binary", "store.ca_file", "kafka.ssl_cafile", "kafka.ssl_certfile",
        "alerts.owners_file", "alerts.slo_folder",
    }  # fmt: skip


@pytest.mark.parametrize("somebodys", [True, False])
def test_a_process_that_keeps_telemetry_narrows_its_data_folder_unless_it_is_shared(
    tmp_path: Path, somebodys: bool
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "incidents.sqlite-wal").touch()
    (tmp_path / "incidents.sqlite-wal").chmod(0o644)
    if somebodys:
        (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        keep_private(Config(data_dir=tmp_path))
        (tmp_path / "log" / "made").touch()
    finally:
        assert os.umask(before) == 0o077
    assert stat.S_IMODE(tmp_path.stat().st_mode) == (0o755 if somebodys else 0o700)
    assert stat.S_IMODE((tmp_path / "log" / "made").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "incidents.sqlite-wal").stat().st_mode) == 0o600
