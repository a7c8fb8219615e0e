"""What kustomize makes of k8s/: as kept in tests/golden, and accepted by Kubernetes' and the operators' schemas."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
from kubernetes_validate.utils import ValidationError

from tests.deployment.rendered import OVERLAYS, Resource, definition, identity, resources, text
from tests.golden import assert_golden
from tests.real_parts import skip_where_missing
from tests.testbed.go_tools import keda_definitions
from tests.testbed.strimzi_definitions import definitions as strimzi_definitions

KUBERNETES = "1.37"
OPERATORS: dict[str, Callable[[], Path]] = {"kafka.strimzi.io": strimzi_definitions, "keda.sh": keda_definitions}
# The operator's definitions are in no registry: the fields that we use, as its documentation has them.
INSTALLATION = {
    "defaults": {"templates": {"podTemplate", "dataVolumeClaimTemplate"}},
    "configuration": {"clusters": {"name", "layout"}, "files": set()},
    "templates": {
        "podTemplates": {"name", "spec"},
        "volumeClaimTemplates": {"name", "reclaimPolicy", "spec"},
    },
}


def group(resource: Resource) -> tuple[str, str]:
    name, _, version = resource["apiVersion"].rpartition("/")
    return name, version


def own(overlay: str) -> list[Resource]:
    """Kubernetes' own resources."""
    return [each for each in resources(overlay) if "." not in group(each)[0] or group(each)[0].endswith(".k8s.io")]


def operated(overlay: str) -> list[Resource]:
    """Those of an operator whose definitions can be had."""
    return [each for each in resources(overlay) if group(each)[0] in OPERATORS]


def broken_rules(resource: Resource) -> list[str]:
    name, version = group(resource)
    with skip_where_missing():
        folder = OPERATORS[name]()
    errors = definition(folder, resource["kind"], version).iter_errors(resource)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_to_what_is_kept(overlay: str, pytestconfig: pytest.Config) -> None:
    assert_golden(pytestconfig, f"k8s/{overlay}.yaml", text(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_is_of_a_known_api(overlay: str) -> None:
    known = len(own(overlay)) + len(operated(overlay)) + len(resources(overlay, "ClickHouseInstallation"))

    assert known == len(resources(overlay))
    assert len({(each["kind"], each["metadata"]["name"]) for each in resources(overlay)}) == known


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_resource_of_its_own(overlay: str) -> None:
    for resource in own(overlay):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operators_take_theirs(overlay: str) -> None:
    assert {identity(each): broken_rules(each) for each in operated(overlay) if broken_rules(each)} == {}
    assert {group(each)[0] for each in operated("prod")} == set(OPERATORS)


def test_the_schemas_are_strict() -> None:
    deployment = copy.deepcopy(resources("dev", "Deployment")[0])
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(ValidationError, match="readOnly"):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    for kind, mutated, expected in (
        ("KafkaTopic", {"partition": 3}, "partition"),
        ("KafkaUser", {"authentication": {"type": "none"}}, "none"),
        ("ScaledObject", {"maxReplicas": 3}, "maxReplicas"),
        ("KafkaNodePool", {"replicas": "three"}, "three"),
    ):
        resource = copy.deepcopy(resources("prod", kind)[0])
        resource["spec"].update(mutated)
        assert any(expected in rule for rule in broken_rules(resource)), kind


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_store_uses_documented_fields_only(overlay: str) -> None:
    (store,) = resources(overlay, "ClickHouseInstallation")
    spec = store["spec"]

    assert store["apiVersion"] == "clickhouse.altinity.com/v1"
    assert {name: set(section) for name, section in spec.items()} == {
        name: set(section) for name, section in INSTALLATION.items()
    }
    assert set(spec["defaults"]["templates"]) == INSTALLATION["defaults"]["templates"]
    assert set(spec["configuration"]["files"]) == {"users.d/sluiceway.xml", "config.d/sluiceway.xml"}
    for name in ("podTemplates", "volumeClaimTemplates"):
        (template,) = spec["templates"][name]
        assert set(template) == INSTALLATION["templates"][name]
        # What is inside is Kubernetes' own.
        if name == "podTemplates":
            assert spec["defaults"]["templates"]["podTemplate"] == template["name"]
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "store"}, "spec": template["spec"]}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        else:
            assert spec["defaults"]["templates"]["dataVolumeClaimTemplate"] == template["name"]
            claim = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data"},
                "spec": template["spec"],
            }
            kubernetes_validate.validate(claim, KUBERNETES, strict=True)
