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
SECRETS = (
    "clickhouse_reader", "clickhouse_writer", "grafana_admin", "kafka_admin", "kafka_collector", "kafka_ingest",
    "kafka_process",
)  # fmt: skip
# What one of ours has and another has not: its name at the brokers, and what reaches the store.
ITS_OWN = re.compile("SLUICEWAY_(KAFKA__S(ASL|ECURITY)_.*|STORE__.*)")


def configuration(model: Model, name: str) -> Model:
    """A file of `configs`, read."""
    read: Model = yaml.safe_load(Path(model["configs"][name]["file"]).read_text())
    return read


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
    # A Collector takes a file as it is, the end of its line too, and JAAS has characters of its own.
    assert all(re.fullmatch(r"[\w-]+", secret) for secret in first.values())
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
                # A file, or what the Collector reads one by.
                assert re.fullmatch(r"/run/secrets/\w+|\$?\$\{file:/run/secrets/\w+\}", str(value)), name


def test_what_a_secret_is_read_from_is_given_to_the_service(services: dict[str, Model]) -> None:
    for name, service in services.items():
        given = {f"/run/secrets/{secret['source']}" for secret in service.get("secrets", ())}
        text = json.dumps({key: service.get(key) for key in ("environment", "entrypoint", "command")})
        assert set(re.findall(r"/run/secrets/\w+", text)) <= given, name


def test_every_container_may_write_to_its_volumes_and_memory_only_and_become_nothing_more(
    services: dict[str, Model],
) -> None:
    for name, service in services.items():
        assert service.get("read_only") is True, name
        assert service.get("cap_drop") == ["ALL"], name
        assert service.get("security_opt") == ["no-new-privileges:true"], name
        assert not {"privileged", "devices", "pid", "ipc", "userns_mode", "group_add"} & set(service), name
        assert service.get("network_mode", "none") == "none", name
        # Memory has a bound, and programs in it only where codecs load themselves from there.
        folders = dict(mount.split(":", 1) for mount in service["tmpfs"])
        assert all(re.match(r"size=\d+m", options) for options in folders.values()), name
        assert ["exec" in options for options in folders.values()].count(True) == (name == "kafka"), name
        written = {mount["target"] for mount in service.get("volumes", ()) if not mount.get("read_only")}
        assert {mount["type"] for mount in service.get("volumes", ()) if mount["target"] in written} <= {"volume"}, name
    assert {name: each["cap_add"] for name, each in services.items() if "cap_add" in each} == {
        # It gives one folder to the user of another container, and has no network.
        "collector-folder": ["CHOWN"]
    }
    assert {name for name, each in services.items() if str(each.get("user")).startswith("0")} == {"collector-folder"}


def test_no_configuration_is_laid_into_a_read_only_container(model: Model) -> None:
    """Compose copies content given in place, which such a container refuses; it binds files."""
    assert {name: set(each) for name, each in model["configs"].items()} == {
        name: {"name", "file"} for name in model["configs"]
    }
    for each in model["configs"].values():
        # Read by the users of the images.
        assert Path(each["file"]).stat().st_mode & 0o444 == 0o444


def test_a_broken_rule_of_confinement_is_seen(services: dict[str, Model]) -> None:
    for name, service in services.items():
        for field in ("read_only", "cap_drop", "security_opt"):
            loose = {**services, name: {key: value for key, value in service.items() if key != field}}
            with pytest.raises(AssertionError):
                test_every_container_may_write_to_its_volumes_and_memory_only_and_become_nothing_more(loose)


def test_who_knows_a_password_needs_it(services: dict[str, Model]) -> None:
    known = {name: {each["source"] for each in service.get("secrets", ())} for name, service in services.items()}
    clickhouse = {"clickhouse_writer", "clickhouse_reader"}

    assert {name: secrets for name, secrets in known.items() if secrets} == {
        "kafka": {"kafka_admin", "kafka_ingest", "kafka_process", "kafka_collector"},
        "kafka-access": {"kafka_admin"},
        "clickhouse": clickhouse,
        "schema": clickhouse,
        "ingest": {"kafka_ingest"},
        "process": {"kafka_process", *clickhouse},
        "collector": {"kafka_collector"},
        "grafana": {"grafana_admin", "clickhouse_reader"},
    }


def test_our_settings_are_settings(services: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(ROOT / "tests")
    environments = {name: service["environment"] for name, service in ours(services).items()}
    shared, store = environments["ingest"], environments["schema"]
    for service, environment in environments.items():
        common = {name: value for name, value in environment.items() if not ITS_OWN.fullmatch(name)}
        assert common == {name: value for name, value in shared.items() if not ITS_OWN.fullmatch(name)}
        assert ("SLUICEWAY_STORE__URL" in environment) == (service != "ingest")
        assert environment.get("SLUICEWAY_STORE__URL", store["SLUICEWAY_STORE__URL"]) == store["SLUICEWAY_STORE__URL"]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if service != "schema":
            kafka = config.load().config.kafka
            assert (kafka.security_protocol, kafka.sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN")
            assert kafka.sasl_username == service
            assert str(kafka.sasl_password_file) == f"/run/secrets/kafka_{service}"

    loaded = config.load().config

    assert loaded.kafka.bootstrap_servers == ("kafka:9092",)
    assert loaded.store.url == "http://clickhouse:8123"
    assert loaded.store.reader_user == READER
    assert {part: login.user for part, login in loaded.store.readers.items()} == {
        part: part for part in ("viewer", "alerts", "query")
    }
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
    # Who may do nothing before that waits for what gives the rights, or for who has waited.
    assert "kafka-access" in services["ingest"]["depends_on"]
    assert "ingest" in services["collector"]["depends_on"]


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
    (source,) = configuration(model, "grafana_datasource")["datasources"]
    loaded = config.Config().store

    assert source["jsonData"]["username"] == READER
    assert source["jsonData"]["defaultDatabase"] == loaded.database
    assert int(source["jsonData"]["queryTimeout"]) + 5 <= loaded.reader_max_execution_s
    assert source["secureJsonData"] == {"password": "$__file{/run/secrets/clickhouse_reader}"}


def test_grafana_finds_the_generated_dashboards_where_its_provider_looks(
    model: Model, services: dict[str, Model]
) -> None:
    (provider,) = configuration(model, "grafana_dashboards")["providers"]
    files = generated("clickhouse", 8123, "otel", READER, provider["options"]["path"])
    mounted = {mount["target"]: Path(mount["source"]) for mount in services["grafana"]["volumes"]}

    assert [provider] == yaml.safe_load(files[PurePosixPath("dashboards/sluiceway.yaml")])["providers"]
    assert mounted[provider["options"]["path"]] == ROOT / "dashboards" / "generated"


@pytest.fixture
def gateway(model: Model) -> Model:
    return configuration(model, "collector")


def test_the_gateway_is_what_our_command_prints(services: dict[str, Model], gateway: Model) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "sluiceway", "collector-config", "gateway"],
        env={**os.environ, **services["ingest"]["environment"], "SLUICEWAY_KAFKA__SASL_USERNAME": "collector"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert gateway == yaml.safe_load(printed.stdout)
    for signal in Signal:
        assert gateway["exporters"]["kafka"][str(signal)]["topic"] == NAMES[signal].topic


def test_the_gateway_listens_where_its_ports_are_and_queues_on_its_volume(
    services: dict[str, Model], gateway: Model
) -> None:
    service = services["collector"]
    listens = {name: value for name, value in service["environment"].items() if name.endswith("_LISTEN")}
    listening = {value.rpartition(":")[2] for value in listens.values()}
    (volume,) = service["volumes"]

    assert set(re.findall(r"env:(\w+_LISTEN)", json.dumps(gateway))) == set(listens)
    assert {str(port["target"]) for port in service["ports"]} == listening
    assert Path(gateway["extensions"]["file_storage"]["directory"]).is_relative_to(volume["target"])
    assert services["collector-folder"]["volumes"] == service["volumes"]


def gateway_environment(services: dict[str, Model], folder: Path) -> dict[str, str]:
    """The variables of the gateway's container, its password in a file of this folder."""
    (folder / "kafka_collector").write_text("a password\n")
    return {
        name: str(value).replace("$$", "$").replace("/run/secrets", str(folder))
        for name, value in services["collector"]["environment"].items()
    }


def test_a_real_collector_accepts_the_gateways_configuration(
    model: Model, services: dict[str, Model], tmp_path: Path
) -> None:
    with skip_where_missing():
        binary = collector.binary()
    file = tmp_path / "otelcol.yaml"
    # Its folder is a volume of the container.
    folder = tmp_path / "queue"
    folder.mkdir()
    file.write_text(Path(model["configs"]["collector"]["file"]).read_text().replace("/var/lib/otelcol", str(folder)))
    ran = subprocess.run(
        [binary, "validate", f"--config={file}"], capture_output=True, text=True, check=False, timeout=60,
        env=gateway_environment(services, tmp_path),
    )  # fmt: skip

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_no_default_user_is_left_in_the_store(model: Model) -> None:
    content = Path(model["configs"]["clickhouse_no_default_user"]["file"]).read_text()

    assert '<default remove="remove"/>' in content
    # Files of users.d are merged by name, and the image writes default-user.xml there.
    (mount,) = model["services"]["clickhouse"]["configs"]
    assert Path(mount["target"]).name > "default-user.xml"
