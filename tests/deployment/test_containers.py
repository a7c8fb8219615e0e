"""The commands of compose.yaml and k8s/ as their containers run them: with nothing to write to but /tmp."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from numba.core.caching import _CacheLocator

from processors.store_client import connect
from schemas import jit
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from tests.deployment import confinement
from tests.deployment.conftest import Model
from tests.deployment.images import ROOT
from tests.deployment.kafka_of_compose import KafkaOfCompose
from tests.kafka_broker import fresh_name, require_broker
from tests.testbed.parts import cache_folder, free_ports

TIMEOUT_S = 120.0
Settings = dict[str, str]
_SPAN = (
    '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0102030405060708090a0b0c0d0e0f10", '
    '"spanId": "0102030405060708", "name": "deployed", "startTimeUnixNano": "%d", "endTimeUnixNano": "%d"}]}]}]}'
)


@pytest.fixture
def broker(services: dict[str, Model], tmp_path: Path) -> Iterator[KafkaOfCompose]:
    """The broker of compose.yaml, which lets ours in only with their passwords, and to what they need only."""
    require_broker()
    (tmp_path / "broker").mkdir()
    with KafkaOfCompose(tmp_path / "broker", services) as running:
        running.give_rights()
        yield running


@pytest.fixture
def settings(
    services: dict[str, Model], broker: KafkaOfCompose, store: EmbeddedStore, tmp_path: Path
) -> dict[str, Settings]:
    """The variables of each service of compose.yaml, with addresses and secrets of this test."""
    database = fresh_name("deployed").replace("-", "_")
    # What the image brings compiled; here it is what this machine compiled of this tree, as other trees' may not fit.
    compiled = str(_compiled_here(tmp_path / "image"))
    changed = {
        "SLUICEWAY_INGEST__GRPC_HOST": "127.0.0.1",
        "SLUICEWAY_INGEST__HTTP_HOST": "127.0.0.1",
        "SLUICEWAY_VIEWER__HOST": "127.0.0.1",
        "SLUICEWAY_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "SLUICEWAY_STORE__URL": store.url,
        "SLUICEWAY_STORE__PASSWORD_FILE": str(StoreFolder(store.folder).secret),
        "SLUICEWAY_STORE__READER_USER": "default",
    }
    made = {}
    for name in ("schema", "ingest", "process"):
        given: Settings = dict(services[name]["environment"])
        for of_secrets in ("SLUICEWAY_STORE__READER_PASSWORD_FILE", "SLUICEWAY_STORE__READERS"):
            given.pop(of_secrets, None)
        password_file = given.get("SLUICEWAY_KAFKA__SASL_PASSWORD_FILE", "")
        made[name] = {
            **given,
            **{key: value for key, value in changed.items() if key in given},
            "SLUICEWAY_STORE__DATABASE": database,
            "XDG_CACHE_HOME": compiled,
        }
        if password_file:
            made[name]["SLUICEWAY_KAFKA__SASL_PASSWORD_FILE"] = str(broker.secrets / Path(password_file).name)
    assert set(changed) <= set().union(*made.values())
    return made


def _compiled_here(home: Path) -> Path:
    folder = Path("sluiceway", "compiled", jit.fingerprint())
    built = cache_folder().parent / folder
    names = {
        _CacheLocator.get_suitable_cache_subpath(str(file))
        for package in ("schemas", "ingest", "processors")
        for file in (ROOT / package).rglob("*.py")
    }
    for name in names:
        if (built / name).is_dir():
            shutil.copytree(built / name, home / folder / name)
    # Another tree of the same code may have compiled all of it, and this one nothing yet.
    if (built / "whole").exists() and (home / folder).is_dir():
        (home / folder / "whole").touch()
    return home


@contextmanager
def container(name: str, scratch: Path, settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block ends; what it printed is shown when the test fails."""
    printed = scratch / f"{name}.log"
    folder = scratch / name
    folder.mkdir()
    with printed.open("wb") as log:
        child = subprocess.Popen(
            confinement.command("-m", "sluiceway", *arguments), cwd="/", stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, env=confinement.environment(ROOT, folder, settings),
        )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        print(f"--- {name}\n{printed.read_text()}")


def await_answer(url: str, child: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (URLError, OSError):
            assert child.poll() is None, f"it ended before {url} answered"
            assert time.monotonic() < deadline_s, f"{url} did not answer within {TIMEOUT_S:.0f} s"
            time.sleep(0.1)


def health_check(port: int) -> list[str]:
    with (ROOT / "Dockerfile").open("rb") as file:
        (line,) = [each for each in DockerfileParser(fileobj=file).structure if each["instruction"] == "HEALTHCHECK"]
    words: list[str] = yaml.safe_load(line["value"].split(" CMD ")[1])
    return [word.replace(":8080/", f":{port}/") for word in words[1:]]


def test_a_span_goes_through_the_containers_into_the_store(
    settings: dict[str, Settings], store: EmbeddedStore, tmp_path: Path
) -> None:
    grpc, http, pages_of_ingest, pages_of_process = free_ports(4)
    settings["ingest"] |= {"SLUICEWAY_INGEST__GRPC_PORT": str(grpc), "SLUICEWAY_INGEST__HTTP_PORT": str(http)}
    with ExitStack() as running:
        schema = running.enter_context(container("schema", tmp_path, settings["schema"], "schema", "apply"))
        assert schema.wait(TIMEOUT_S) == 0
        children = {}
        for name, port in (("ingest", pages_of_ingest), ("process", pages_of_process)):
            own = {**settings[name], "SLUICEWAY_VIEWER__PORT": str(port)}
            children[name] = running.enter_context(container(name, tmp_path, own, name))
        for port, child in zip((pages_of_ingest, pages_of_process), children.values(), strict=True):
            await_answer(f"http://127.0.0.1:{port}/readyz", child)
            subprocess.run(confinement.command(*health_check(port)), check=True, timeout=TIMEOUT_S,
                           env=confinement.environment(ROOT, tmp_path))  # fmt: skip
        now_ns = time.time_ns()
        request = urllib.request.Request(
            f"http://127.0.0.1:{http}/v1/traces", (_SPAN % (now_ns, now_ns + 1)).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            assert answer.status == 200

        database = settings["schema"]["SLUICEWAY_STORE__DATABASE"]
        client = connect(store.url, user=store.writer_user, password=store.writer_password, database=None)
        running.callback(client.close)
        running.callback(client.command, f"DROP DATABASE {database} SYNC")
        deadline_s = time.monotonic() + TIMEOUT_S
        while not client.command(f"SELECT count() FROM {database}.otel_traces WHERE SpanName = 'deployed'"):
            assert time.monotonic() < deadline_s, "the span is not in the store"
            time.sleep(0.2)
        for child in children.values():
            child.send_signal(signal.SIGTERM)
        # Within the time that compose.yaml and k8s/ leave them.
        assert [child.wait(60) for child in children.values()] == [0, 0]
