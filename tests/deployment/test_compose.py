"""compose.yaml: what Compose's own parser makes of it, and whether everything that it names is there and is ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from dashboards.files import generated
from schemas.signals import NAMES, Signal
from sluiceway import config
from sluiceway.embedded.users import READER
from sluiceway.reference import every_command
from sluiceway.server_users import READER_PASSWORD, WRITER_PASSWORD
from tests.deployment.images import OURS, ROOT, is_pinned, named
from tests.real_parts import skip_where_missing
from tests.testbed import collector, kafka_broker
from tests.testbed.go_tools import compose_spec

Model = dict[str, Any]
SECRETS = ("clickhouse_reader", "clickhouse_writer", "grafana_admin")


@pytest.fixture(scope="module")
def model() -> Model:
    """The project as Compose reads it: checked by its schema, variables and anchors resolved."""
    with skip_where_missing():
        tool = compose_spec()
    printed = subprocess.run(
        [tool, "-format", "json", "compose.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (printed.returncode, printed.stderr) == (0, "")
    read: Model = json.loads(printed.stdout)
    return read


@pytest.fixture(scope="module")
def services(model: Model) -> dict[str, Model]:
    found: dict[str, Model] = model["services"]
    return found


def ours(services: dict[str, Model]) -> dict[str, Model]:
    """The services that run a command of ours."""
    return {name: each for name, each in services.items() if each["image"] == OURS and "entrypoint" not in each}


def test_the_parser_refuses_what_is_no_compose_file(tmp_path: Path) -> None:
    with skip_where_missing():
        tool = compose_spec()
    (tmp_path / "compose.yaml").write_text("services: {a: {image: b, prots: []}}\n")
    ran = subprocess.run([tool, "compose.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode != 0
    assert "prots" in ran.stdout + ran.stderr


def test_everything_that_the_pipeline_needs_is_there(services: dict[str, Model]) -> None:
    assert set(services) >= {"kafka", "clickhouse", "grafana", "collector", "schema", "ingest", "process"}


def test_every_image_is_built_here_or_named(services: dict[str, Model]) -> None:
    images = {service["image"] for service in services.values()}

    assert images - {OURS} <= set(named())
    assert all(map(is_pinned, images))
    # What has our image and is not told to build it would be pulled from nowhere.
    built = {name: service["build"]["context"] for name, service in services.items() if service["image"] == OURS}
    assert {Path(context) for context in built.values()} == {ROOT}
    assert len(built) == 4


def test_the_broker_is_the_one_that_the_tests_run(services: dict[str, Model]) -> None:
    version = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)", kafka_broker.POM.read_text())

    assert version is not None
    assert services["kafka"]["image"].partition("@")[0] == f"apache/kafka:{version[1]}"


def test_the_brokers_image_makes_a_valid_configuration_of_our_variables(
    services: dict[str, Model], tmp_path: Path
) -> None:
    """What the image runs before the broker: properties from the variables, a formatted folder."""
    with skip_where_missing():
        java, jars = kafka_broker.java(), kafka_broker.jars()
    folders = {name: tmp_path / name for name in ("default", "mounted", "final", "data")}
    for folder in folders.values():
        folder.mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (folders["default"] / name).write_text("\n")
    environment = {
        **services["kafka"]["environment"],
        "KAFKA_LOG_DIRS": str(folders["data"]),
        "CLUSTER_ID": kafka_broker.cluster_id(),
        "PATH": os.environ["PATH"],
    }
    command = [
        java, "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", "kafka.docker.KafkaDockerWrapper", "setup",
        *("--default-configs-dir", folders["default"]), *("--mounted-configs-dir", folders["mounted"]),
        *("--final-configs-dir", folders["final"]),
    ]  # fmt: skip
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    written = dict(
        line.split("=", 1) for line in (folders["final"] / "server.properties").read_text().split("\n") if "=" in line
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (folders["data"] / "meta.properties").exists()
    assert written["auto.create.topics.enable"] == "false"
    assert written["advertised.listeners"].startswith("INSIDE://kafka:9092")
    assert not [name for name in written if "heap" in name]


def test_every_port_is_published_on_loopback_only(services: dict[str, Model]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]

    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert len({port["published"] for port in published}) == len(published)


def test_every_file_that_is_mounted_exists(services: dict[str, Model]) -> None:
    bound = [
        Path(mount["source"])
        for service in services.values()
        for mount in service.get("volumes", ())
        if mount["type"] == "bind"
    ]

    assert bound
    assert [path for path in bound if not path.is_file() and not list(path.glob("*.json"))] == []


def test_every_secret_is_a_file_that_git_ignores_and_make_writes(model: Model, tmp_path: Path) -> None:
    files = {name: Path(secret["file"]) for name, secret in model["secrets"].items()}
    made = tmp_path / "secrets"
    first, second = (_make_secrets(made) for _ in range(2))

    assert first == second
    assert tuple(sorted(files)) == SECRETS == tuple(sorted(first))
    assert len(set(first.values())) == len(SECRETS)
    assert min(map(len, first.values())) >= 32
    assert made.stat().st_mode & 0o777 == 0o700
    for file in files.values():
        assert subprocess.run(["git", "check-ignore", "-q", file], cwd=ROOT, check=False).returncode == 0


def _make_secrets(folder: Path) -> dict[str, str]:
    subprocess.run(["make", "-s", "secrets", f"SECRETS={folder}"], cwd=ROOT, check=True, timeout=60)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_no_value_looks_like_a_secret(services: dict[str, Model]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", name):
                assert str(value).startswith("/run/secrets/"), name


def test_what_a_secret_is_read_from_is_given_to_the_service(services: dict[str, Model]) -> None:
    for name, service in services.items():
        given = {f"/run/secrets/{secret['source']}" for secret in service.get("secrets", ())}
        text = json.dumps({key: service.get(key) for key in ("environment", "entrypoint", "command")})
        assert set(re.findall(r"/run/secrets/\w+", text)) <= given, name


def test_our_containers_may_write_nothing_and_do_nothing_special(services: dict[str, Model]) -> None:
    for service in ours(services).values():
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp:size=64m"]  # noqa: S108
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        # Compose cannot lay one into a read-only container.
        assert "configs" not in service


def test_our_settings_are_settings(services: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(ROOT / "tests")
    environments = [service["environment"] for service in ours(services).values()]
    assert all(environment == environments[0] for environment in environments)
    for name, value in environments[0].items():
        monkeypatch.setenv(name, value)

    loaded = config.load().config

    assert loaded.kafka.bootstrap_servers == ("kafka:9092",)
    assert loaded.store.url == "http://clickhouse:8123"
    assert loaded.store.reader_user == READER
    assert str(loaded.store.password_file) in {f"/run/secrets/{name}" for name in SECRETS}


def test_our_commands_are_commands(services: dict[str, Model]) -> None:
    commands = {tuple(service["command"]) for service in ours(services).values()}

    assert commands == {("schema", "apply"), ("ingest",), ("process",)}
    assert commands <= {path for path, _ in every_command()}


def test_what_waits_waits_for_what_says_that_it_is_ready(services: dict[str, Model]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            assert condition in ("service_healthy", "service_completed_successfully"), (name, other)
            # The image brings a check of its own to our services.
            watched = "healthcheck" in services[other] or other in ours(services)
            assert (condition == "service_healthy") <= watched, (name, other)
            assert (condition == "service_completed_successfully") == (services[other].get("restart") == "no")
    assert set(services["process"]["depends_on"]) == {"kafka", "ingest", "schema"}


def test_ours_are_given_longer_to_stop_than_they_take(services: dict[str, Model]) -> None:
    ingest = config.load(overrides={}).config.ingest
    needed_s = ingest.drain_timeout_s + ingest.append_timeout_s

    for name in ("ingest", "process"):
        assert _seconds(services[name]["stop_grace_period"]) > needed_s


def _seconds(duration: str) -> float:
    parts = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert parts is not None
    return 60 * int(parts[1] or 0) + int(parts[2] or 0)


def test_the_store_gets_its_users_and_their_passwords(services: dict[str, Model]) -> None:
    mounted = {mount["target"]: mount["source"] for mount in services["clickhouse"]["volumes"]}
    script = services["clickhouse"]["entrypoint"][2]

    assert Path(mounted["/etc/clickhouse-server/users.d/sluiceway.xml"]) == ROOT / "k8s/base/clickhouse/users.xml"
    assert Path(mounted["/etc/clickhouse-server/config.d/sluiceway.xml"]) == ROOT / "k8s/base/clickhouse/config.xml"
    assert f"export {WRITER_PASSWORD} {READER_PASSWORD}" in script
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


def test_grafana_asks_as_the_reader(model: Model) -> None:
    (source,) = yaml.safe_load(model["configs"]["grafana_datasource"]["content"])["datasources"]
    loaded = config.Config().store

    assert source["jsonData"]["username"] == READER
    assert source["jsonData"]["defaultDatabase"] == loaded.database
    assert source["secureJsonData"] == {"password": "$__file{/run/secrets/clickhouse_reader}"}


def test_grafana_finds_the_generated_dashboards_where_its_provider_looks(
    model: Model, services: dict[str, Model]
) -> None:
    (provider,) = yaml.safe_load(model["configs"]["grafana_dashboards"]["content"])["providers"]
    files = generated("clickhouse", 8123, "otel", READER, provider["options"]["path"])
    mounted = {mount["target"]: Path(mount["source"]) for mount in services["grafana"]["volumes"]}

    assert [provider] == yaml.safe_load(files[PurePosixPath("dashboards/sluiceway.yaml")])["providers"]
    assert mounted[provider["options"]["path"]] == ROOT / "dashboards" / "generated"


@pytest.fixture
def gateway(model: Model) -> Model:
    read: Model = yaml.safe_load(model["configs"]["collector"]["content"])
    return read


def test_the_gateway_is_what_our_command_prints(services: dict[str, Model], gateway: Model) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "sluiceway", "collector-config", "gateway"],
        env={**os.environ, **services["ingest"]["environment"]}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert gateway == yaml.safe_load(printed.stdout)
    for signal in Signal:
        assert gateway["exporters"]["kafka"][str(signal)]["topic"] == NAMES[signal].topic


def test_the_gateway_listens_where_its_ports_are_and_queues_on_its_volume(
    services: dict[str, Model], gateway: Model
) -> None:
    service = services["collector"]
    listening = {value.rpartition(":")[2] for value in service["environment"].values()}
    (volume,) = service["volumes"]

    assert set(re.findall(r"env:(\w+_LISTEN)", json.dumps(gateway))) == set(service["environment"])
    assert {str(port["target"]) for port in service["ports"]} == listening
    assert Path(gateway["extensions"]["file_storage"]["directory"]).is_relative_to(volume["target"])
    assert services["collector-folder"]["volumes"] == service["volumes"]


def test_a_real_collector_accepts_the_gateways_configuration(model: Model, tmp_path: Path) -> None:
    with skip_where_missing():
        binary = collector.binary()
    file = tmp_path / "otelcol.yaml"
    # Its folder is a volume of the container.
    folder = tmp_path / "queue"
    folder.mkdir()
    file.write_text(model["configs"]["collector"]["content"].replace("/var/lib/otelcol", str(folder)))
    ran = subprocess.run(
        [binary, "validate", f"--config={file}"], capture_output=True, text=True, check=False, timeout=60
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_no_default_user_is_left_in_the_store(model: Model) -> None:
    content = model["configs"]["clickhouse_no_default_user"]["content"]

    assert '<default remove="remove"/>' in content
    # Files of users.d are merged by name, and the image writes default-user.xml there.
    (mount,) = model["services"]["clickhouse"]["configs"]
    assert Path(mount["target"]).name > "default-user.xml"
