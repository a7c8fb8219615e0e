"""k8s/ as a whole: what is named exists, what runs may do little, and our settings agree with the resources."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest import kafka_topics
from schemas import kafka_log
from schemas.signals import NAMES, Signal
from sluiceway import config
from sluiceway.reference import every_command
from sluiceway.server_users import READER_PASSWORD, WRITER_PASSWORD
from tests.deployment.images import OURS, ROOT, VERSION, is_pinned, named
from tests.deployment.rendered import OVERLAYS, Resource, identity, pod_specs, resources

# Made by Strimzi from the cluster and its user, and by hand as docs/deployment.md says.
SECRETS = {
    "sluiceway": {"password"},
    "sluiceway-cluster-ca-cert": {"ca.crt"},
    "sluiceway-store": {"writer-password", "reader-password"},
}
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def containers(overlay: str) -> list[tuple[str, Resource, Resource]]:
    """Every container of ours, with who makes it and its pod."""
    return [(name, pod, each) for name, pod in pod_specs(overlay) for each in pod["containers"]]


@pytest.fixture
def loaded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    """The settings of a pod: the ConfigMap's file and the container's variables, read by our own code."""
    overlay: str = request.getfixturevalue("overlay")
    (settings,) = resources(overlay, "ConfigMap")
    file = tmp_path / "sluiceway.yaml"
    file.write_text(settings["data"]["sluiceway.yaml"])
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    environments = [{each["name"]: each["value"] for each in container["env"]} for *_, container in containers(overlay)]
    assert all(environment == environments[0] for environment in environments)
    for name, value in environments[0].items():
        monkeypatch.setenv(name, value)
    assert Path(os.environ[config.FILE_VARIABLE]).name == file.name
    return config.load(file).config


@every_overlay
def test_every_image_is_built_here_or_named(overlay: str) -> None:
    (store,) = resources(overlay, "ClickHouseInstallation")
    foreign = {each["image"] for each in store["spec"]["templates"]["podTemplates"][0]["spec"]["containers"]}
    images = {container["image"] for *_, container in containers(overlay)}

    assert images == {OURS}
    assert foreign <= set(named())
    assert all(map(is_pinned, images | foreign))


def test_every_image_that_is_named_is_used_somewhere() -> None:
    files = [ROOT / "Dockerfile", ROOT / "compose.yaml", *(ROOT / "k8s").rglob("*.yaml")]
    text = "\n".join(file.read_text() for file in files if file.name != "images.yaml")

    assert [image for image in named() if image not in text] == []


@every_overlay
def test_what_runs_may_do_little(overlay: str) -> None:
    for name, pod, container in containers(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name


@every_overlay
def test_no_secret_is_in_git_and_each_that_is_named_is_one_that_somebody_makes(overlay: str) -> None:
    assert resources(overlay, "Secret") == []
    for name, pod, _ in containers(overlay):
        for volume in pod["volumes"]:
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"].get("items", ())}
                assert keys <= SECRETS[volume["secret"]["secretName"]], name
    (store,) = resources(overlay, "ClickHouseInstallation")
    (server,) = store["spec"]["templates"]["podTemplates"][0]["spec"]["containers"]
    read = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in server["env"] if "value" not in each}
    assert set(read) == {WRITER_PASSWORD, READER_PASSWORD}
    assert {each["key"] for each in read.values()} == SECRETS["sluiceway-store"]
    text = (ROOT / "docs" / "deployment.md").read_text()
    assert all(key in text for key in ("sluiceway-store", *SECRETS["sluiceway-store"]))


@every_overlay
def test_every_file_that_the_settings_name_is_mounted(overlay: str, loaded: config.Config) -> None:
    files = {
        "kafka-user": loaded.kafka.sasl_password_file,
        "kafka-ca": loaded.kafka.ssl_cafile,
        "store": loaded.store.password_file,
    }
    for name, pod, container in containers(overlay):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
        assert set(mounts) == set(volumes), name
        for volume, file in files.items():
            if volume in volumes:
                assert file is not None
                assert file.parent == mounts[volume], (name, volume)
                assert file.name in SECRETS[volumes[volume]["secret"]["secretName"]], (name, volume)
        assert mounts["tmp"] == Path("/tmp")  # noqa: S108
        assert mounts["settings"] == Path(os.environ[config.FILE_VARIABLE]).parent
        # Receivers hold no password of the store, the schema's Job none of Kafka.
        assert ("store" in volumes) != name.startswith("Deployment/ingest")
        assert ("kafka-user" in volumes) != name.startswith("Job/")


@every_overlay
def test_the_settings_agree_with_the_resources(overlay: str, loaded: config.Config) -> None:
    (kafka,) = resources(overlay, "Kafka")
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    (user,) = resources(overlay, "KafkaUser")
    (store,) = resources(overlay, "ClickHouseInstallation")

    assert loaded.listen_beyond_loopback
    assert loaded.kafka.bootstrap_servers == (f"{kafka['metadata']['name']}-kafka-bootstrap:{listener['port']}",)
    assert (loaded.kafka.security_protocol, listener["tls"]) == ("SASL_SSL", True)
    assert str(loaded.kafka.sasl_mechanism).lower() == listener["authentication"]["type"]
    assert loaded.kafka.sasl_username == user["metadata"]["name"]
    assert loaded.store.url == f"http://clickhouse-{store['metadata']['name']}:8123"
    assert f"<{loaded.store.user}>" in store["spec"]["configuration"]["files"]["users.d/sluiceway.xml"]


@every_overlay
def test_the_topics_are_as_we_would_make_them(overlay: str, loaded: config.Config) -> None:
    topics = {each["spec"]["topicName"]: each["spec"] for each in resources(overlay, "KafkaTopic")}
    names = set(kafka_log.topic_names(loaded.kafka).values())
    (pool,) = resources(overlay, "KafkaNodePool")

    assert set(topics) == names | {kafka_log.dead_letter_topic(name) for name in names}
    assert names == {NAMES[signal].topic for signal in Signal}
    if overlay == "prod":
        assert {topics[name]["partitions"] for name in names} == {loaded.kafka.partitions}
        for name, spec in topics.items():
            expected = kafka_topics._of_records if name in names else kafka_topics._of_dead_letters
            assert {key: str(value) for key, value in spec["config"].items()} == expected(loaded.kafka)
    for spec in topics.values():
        assert spec["replicas"] <= pool["spec"]["replicas"]
        assert spec["config"]["min.insync.replicas"] <= spec["replicas"]


@every_overlay
def test_our_user_may_use_our_topics_and_groups(overlay: str, loaded: config.Config) -> None:
    (user,) = resources(overlay, "KafkaUser")
    rules = {rule["resource"]["type"]: rule for rule in user["spec"]["authorization"]["acls"]}
    topics = [each["spec"]["topicName"] for each in resources(overlay, "KafkaTopic")]
    groups = [kafka_log.consumer_group(loaded.kafka.group, loaded.kafka.topic(signal)) for signal in Signal]

    assert all(topic.startswith(rules["topic"]["resource"]["name"]) for topic in topics)
    assert all(group.startswith(rules["group"]["resource"]["name"]) for group in groups)
    assert set(rules["topic"]["operations"]) == {"Describe", "DescribeConfigs", "Read", "Write"}
    assert set(rules["group"]["operations"]) == {"Describe", "Read"}


@every_overlay
def test_our_commands_are_commands(overlay: str) -> None:
    known = {path for path, _ in every_command()}
    commands = [tuple(container["args"]) for *_, container in containers(overlay)]

    assert all(command[:1] in known or command in known for command in commands)
    signals = [command[command.index("--signals") + 1] for command in commands if "--signals" in command]
    assert sorted(signals) == (sorted(map(str, Signal)) if overlay == "prod" else [])
    (job,) = resources(overlay, "Job")
    assert job["metadata"]["name"] == f"schema-{VERSION.replace('.', '-')}"


@every_overlay
def test_probes_ask_what_we_answer(overlay: str, loaded: config.Config) -> None:
    for deployment in resources(overlay, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        assert {ports[each["port"]] for each in asked.values()} == {loaded.viewer.port}
        assert {name: each["path"] for name, each in asked.items()} == {
            "startup": "/healthz",
            "liveness": "/healthz",
            "readiness": "/readyz",
        }
        assert "*" in loaded.viewer.allowed_hosts


@every_overlay
def test_a_rollout_loses_no_capacity_and_gives_pods_the_time_they_take(overlay: str, loaded: config.Config) -> None:
    for deployment in resources(overlay, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        pause_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed_s = pause_s + loaded.ingest.drain_timeout_s + loaded.ingest.append_timeout_s
        assert pod["terminationGracePeriodSeconds"] > needed_s, identity(deployment)
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        spread = pod["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for each in spread:
            assert _selects(each["labelSelector"], deployment["spec"]["template"])
            others = [o for o in resources(overlay, "Deployment") if identity(o) != identity(deployment)]
            mistaken = [o for o in others if _selects(each["labelSelector"], o["spec"]["template"])]
            assert list(map(identity, mistaken)) == []


@every_overlay
def test_every_deployment_has_a_service_and_a_disruption_budget_of_its_own(overlay: str) -> None:
    for deployment in resources(overlay, "Deployment"):
        template = deployment["spec"]["template"]
        for kind in ("Service", "PodDisruptionBudget"):
            selectors = [
                each["spec"]["selector"] if kind == "PodDisruptionBudget" else {"matchLabels": each["spec"]["selector"]}
                for each in resources(overlay, kind)
            ]
            assert sum(_selects(selector, template) for selector in selectors) == 1, (identity(deployment), kind)


def _selects(selector: dict[str, Any], template: Resource) -> bool:
    labels = template["metadata"]["labels"]
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


@every_overlay
def test_the_network_lets_through_what_each_pod_needs_and_no_more(overlay: str) -> None:
    allowed: dict[str, set[int]] = {}
    denied = set()
    for resource in resources(overlay, "Deployment", "Job"):
        template = resource["spec"]["template"]
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        for policy in resources(overlay, "NetworkPolicy"):
            spec = policy["spec"]
            if _selects(spec["podSelector"], template):
                if set(spec["policyTypes"]) == {"Ingress", "Egress"} and not {"ingress", "egress"} & set(spec):
                    denied.add(component)
                for way in ("ingress", "egress"):
                    for rule in spec.get(way, ()):
                        # A rule without peers or without ports would let everything through.
                        assert rule["from" if way == "ingress" else "to"]
                        assert rule["ports"]
                        allowed.setdefault(f"{component} {way}", set()).update(port["port"] for port in rule["ports"])

    assert denied == {"ingest", "process", "schema"}
    assert allowed == {
        "ingest ingress": {4317, 4318, 8080},
        "ingest egress": {53, 9093},
        "process ingress": {8080},
        "process egress": {53, 8123, 9093},
        "schema egress": {53, 8123},
    }


def test_processors_scale_by_the_lag_of_their_topic_up_to_its_partitions() -> None:
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each for each in resources("prod", "ScaledObject")}
    partitions = {each["spec"]["topicName"]: each["spec"]["partitions"] for each in resources("prod", "KafkaTopic")}
    (authentication,) = resources("prod", "TriggerAuthentication")
    deployments = {each["metadata"]["name"]: each for each in resources("prod", "Deployment")}

    assert set(scaled) == {f"process-{signal}" for signal in Signal}
    for signal in Signal:
        spec = scaled[f"process-{signal}"]["spec"]
        (trigger,) = spec["triggers"]
        topic = NAMES[signal].topic
        assert trigger["type"] == "kafka"
        assert trigger["metadata"]["topic"] == topic
        assert trigger["metadata"]["consumerGroup"] == kafka_log.consumer_group("sluiceway", topic)
        assert spec["minReplicaCount"] < spec["fallback"]["replicas"] < spec["maxReplicaCount"] == partitions[topic]
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
        (container,) = deployments[f"process-{signal}"]["spec"]["template"]["spec"]["containers"]
        # Where KEDA reads the user's name.
        (name,) = authentication["spec"]["env"]
        assert name["containerName"] == spec["scaleTargetRef"]["envSourceContainerName"] == container["name"]
        assert name["name"] in {each["name"] for each in container["env"]}


@every_overlay
def test_nothing_is_scaled_twice(overlay: str) -> None:
    targets = [
        each["spec"]["scaleTargetRef"]["name"] for each in resources(overlay, "ScaledObject", "HorizontalPodAutoscaler")
    ]
    names = {each["metadata"]["name"] for each in resources(overlay, "Deployment")}

    assert len(targets) == len(set(targets))
    assert set(targets) == (names if overlay == "prod" else set())
    # A number here would be fought over at every apply.
    assert [identity(each) for each in resources(overlay, "Deployment") if "replicas" in each["spec"]] == []


@every_overlay
def test_everything_is_in_the_namespace_of_the_overlay(overlay: str) -> None:
    (namespace,) = resources(overlay, "Namespace")
    elsewhere = [
        identity(each)
        for each in resources(overlay)
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != namespace["metadata"]["name"]
    ]

    assert elsewhere == []


def test_every_file_of_the_folder_is_used() -> None:
    tracked = subprocess.run(["git", "ls-files", "k8s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {ROOT / name for name in tracked.split()} - {ROOT / "k8s" / "images.yaml"}
    used = set()
    for file in (each for each in files if each.name == "kustomization.yaml"):
        content = yaml.safe_load(file.read_text())
        named_files = [*content["resources"], *(f for g in content.get("configMapGenerator", ()) for f in g["files"])]
        used |= {(file.parent / name).resolve() for name in named_files}
    used |= {folder / "kustomization.yaml" for folder in used}
    roots = {ROOT / "k8s" / "overlays" / overlay / "kustomization.yaml" for overlay in OVERLAYS}

    assert files - used - roots == set()
    assert not re.search(r":latest\b", "\n".join(file.read_text() for file in files))
