"""k8s/: who may speak to whom, by every rule of every policy, and what every container may do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment.rendered import OVERLAYS, Resource, identity, pod_specs, resources

Rule = dict[str, Any]
# Labels that only who administers the cluster can give to a namespace, and that name one, or those that were let in.
NAMESPACE_LABELS = {"kubernetes.io/metadata.name", "sluiceway-clients"}
NAMESPACES = {"kube-system", "monitoring", "keda", "clickhouse-operator"}


def rules(overlay: str) -> list[tuple[str, Rule]]:
    """Every rule of every policy as `peers` and `ports`, those that Strimzi makes policies of too."""
    found = []
    for policy in resources(overlay, "NetworkPolicy"):
        for way, peers in (("ingress", "from"), ("egress", "to")):
            found += [
                (f"{identity(policy)} {way}", {"peers": each.get(peers), "ports": each.get("ports")})
                for each in policy["spec"].get(way, ())
            ]
    for kafka in resources(overlay, "Kafka"):
        for listener in kafka["spec"]["kafka"]["listeners"]:
            ports = [{"protocol": "TCP", "port": listener["port"]}]
            found.append((f"{identity(kafka)} ingress", {"peers": listener.get("networkPolicyPeers"), "ports": ports}))
    return found


def holes(rule: Rule) -> Iterator[str]:
    """What lets more through than somebody and something that has a name."""
    if not rule["peers"]:
        yield "everybody"
    if not rule["ports"] or not all(
        isinstance(each.get("port"), int) and "endPort" not in each for each in rule["ports"]
    ):
        yield "every port"
    for peer in rule["peers"] or ():
        if set(peer) - {"namespaceSelector", "podSelector"}:
            yield f"addresses: {sorted(peer)}"
        for name in ("namespaceSelector", "podSelector"):
            labels = peer.get(name, {"matchLabels": {"": ""}}).get("matchLabels", {})
            expressions = peer.get(name, {}).get("matchExpressions", [])
            if not labels and not any(each["operator"] == "In" and each["values"] for each in expressions):
                yield f"{name} without a name"
        namespace = peer.get("namespaceSelector", {}).get("matchLabels", {})
        if set(namespace) - NAMESPACE_LABELS:
            yield f"a label that anybody may give: {sorted(namespace)}"
        if not {namespace.get("kubernetes.io/metadata.name", "keda")} <= NAMESPACES:
            yield f"an unknown namespace: {namespace}"


def widened(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """The rule with one hole each: as it would be after a mistake."""
    for name, changed in (("peers", None), ("peers", []), ("ports", None), ("ports", [])):
        yield f"{name} {changed}", {**rule, name: changed}
    for at, peer in enumerate(rule["peers"]):
        for name in ("namespaceSelector", "podSelector"):
            for empty in ({}, {"matchLabels": {}}, {"matchExpressions": []}):
                yield f"{at} {name} {empty}", _with_peer(rule, at, {**peer, name: empty})
        yield f"{at} addresses", _with_peer(rule, at, {"ipBlock": {"cidr": "0.0.0.0/0"}})
        if "namespaceSelector" in peer:
            for label in ({"team": "a"}, {"kubernetes.io/metadata.name": "default"}):
                yield f"{at} {label}", _with_peer(rule, at, {**peer, "namespaceSelector": {"matchLabels": label}})
    yield "a range of ports", {**rule, "ports": [{"protocol": "TCP", "port": 1, "endPort": 65535}]}
    yield "no port in a port", {**rule, "ports": [{"protocol": "TCP"}]}


def _with_peer(rule: Rule, at: int, peer: dict[str, Any]) -> Rule:
    peers = copy.deepcopy(rule["peers"])
    peers[at] = peer
    return {**rule, "peers": peers}


ALL_RULES = [(overlay, name, rule) for overlay in OVERLAYS for name, rule in rules(overlay)]


@pytest.mark.parametrize(("overlay", "name", "rule"), ALL_RULES, ids=lambda each: each if isinstance(each, str) else "")
def test_every_rule_names_who_and_what(overlay: str, name: str, rule: Rule) -> None:
    assert list(holes(rule)) == []


@pytest.mark.parametrize(("overlay", "name", "rule"), ALL_RULES, ids=lambda each: each if isinstance(each, str) else "")
def test_every_way_to_widen_a_rule_is_seen(overlay: str, name: str, rule: Rule) -> None:
    wider = list(widened(rule))

    assert [how for how, each in wider if not list(holes(each))] == []
    assert len(wider) > 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_store_lets_in_the_operator_out_of_its_own_namespace_only(overlay: str) -> None:
    (policy,) = [each for each in resources(overlay, "NetworkPolicy") if each["metadata"]["name"] == "store"]
    (peers,) = [
        each["from"] for each in policy["spec"]["ingress"] if {"protocol": "TCP", "port": 9000} in each["ports"]
    ]

    assert peers == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "clickhouse-operator"}},
            "podSelector": {"matchLabels": {"app": "clickhouse-operator"}},
        }
    ]


def pods(overlay: str) -> dict[str, Resource]:
    """The pods that this folder makes, the store's too."""
    (store,) = resources(overlay, "ClickHouseInstallation")
    (template,) = store["spec"]["templates"]["podTemplates"]
    return {**dict(pod_specs(overlay)), identity(store): template["spec"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_may_write_to_its_volumes_only_and_become_nothing_more(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "ephemeralContainers"} & set(pod), name
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert not any("hostPort" in port for port in container.get("ports", ())), name
        for volume in pod["volumes"]:
            assert "hostPath" not in volume, name
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_strimzi_makes_may_become_nothing_more(overlay: str) -> None:
    (pool,) = resources(overlay, "KafkaNodePool")
    (kafka,) = resources(overlay, "Kafka")
    for template in (pool["spec"]["template"], kafka["spec"]["entityOperator"]["template"]):
        containers = {name: each["securityContext"] for name, each in template.items() if name.endswith("Container")}
        assert template["pod"]["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert len(containers) == 2
        for name, allowed in containers.items():
            assert allowed == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_refuses_what_may_do_more(overlay: str) -> None:
    (namespace,) = resources(overlay, "Namespace")
    labels = namespace["metadata"]["labels"]

    # The operators may add to pods of theirs what nobody has tried here.
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"
