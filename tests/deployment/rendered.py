"""The overlays as kustomize renders them, and the schemas of the operators whose resources are in them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.deployment.images import ROOT
from tests.real_parts import skip_where_missing
from tests.testbed.go_tools import kustomize

Resource = dict[str, Any]
OVERLAYS = ("dev", "prod")


@cache
def text(overlay: str) -> str:
    """What `kubectl apply -k` would send."""
    with skip_where_missing():
        tool = kustomize()
    folder = ROOT / "k8s" / "overlays" / overlay
    ran = subprocess.run([tool, "build", folder], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def resources(overlay: str, *kinds: str) -> list[Resource]:
    """The resources of these kinds, or all of them; shared, so copy what you change."""
    return [each for each in _parsed(overlay) if not kinds or each["kind"] in kinds]


@cache
def _parsed(overlay: str) -> list[Resource]:
    return list(yaml.load_all(text(overlay), Loader=yaml.CSafeLoader))


def identity(resource: Resource) -> str:
    """`kind/name`, for messages."""
    return f"{resource['kind']}/{resource['metadata']['name']}"


def pod_specs(overlay: str) -> Iterator[tuple[str, Resource]]:
    """The pods of ours, with who makes them."""
    for resource in resources(overlay, "Deployment", "Job"):
        yield identity(resource), resource["spec"]["template"]["spec"]


@cache
def definition(folder: Path, kind: str, version: str) -> Draft202012Validator:
    """The validator of a kind out of a folder of CustomResourceDefinitions, unknown fields refused.

    Raises:
        LookupError: no file has this kind in this version.
    """
    for file in sorted(folder.glob("*.yaml")):
        found = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
        if found["spec"]["names"]["kind"] == kind:
            for each in found["spec"]["versions"]:
                if each["name"] == version and each["served"]:
                    return Draft202012Validator(_closed(each["schema"]["openAPIV3Schema"], top=True))
    raise LookupError(f"{kind} {version} is not served by any definition in {folder}")


def _closed(schema: Any, *, top: bool = False) -> Any:
    """The schema as the API server takes it with `fieldValidation: Strict`."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # The API server knows these of every resource; a definition only names them.
    made = {
        name: {key: _closed(each) for key, each in value.items()}
        if name == "properties"
        else value
        if name in ("enum", "default", "required", "example")
        else _closed(value)
        for name, value in schema.items()
    }
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    opened = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not opened:
        made["additionalProperties"] = False
    if top:
        made["properties"] = {**made["properties"], "metadata": {"type": "object"}}
    return made
