"""What the image is made from, as others read it: a bill in CycloneDX's form, and licences that may be passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply import charts, licenses, lock, sbom
from tests.deployment.images import ROOT, VERSION

Bill = dict[str, Any]


@pytest.fixture(scope="module")
def bill() -> Bill:
    read: Bill = json.loads(sbom.written(sbom.bill()))
    return read


def test_the_bill_follows_the_schema_of_its_form(bill: Bill) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)

    assert validator.validate_str(json.dumps(bill)) is None
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    for broken in ({"components": [{"name": "a"}]}, {"version": "one"}, {"unknown": True}):
        assert validator.validate_str(json.dumps({**bill, **broken})) is not None


def test_a_bill_that_breaks_the_schema_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    bom = Bom(components=[Component(name="a", type=ComponentType.LIBRARY)])
    monkeypatch.setattr(sbom.JsonV1Dot6, "output_as_string", lambda *_, **__: '{"bomFormat": "other"}')

    with pytest.raises(ValueError, match="must follow CycloneDX"):
        sbom.written(bom)


def test_every_locked_package_is_in_the_bill_with_its_hashes_and_licence(bill: Bill) -> None:
    components = {each["purl"]: each for each in bill["components"]}
    listed = {each.name: each.license for each in licenses.packages()}
    locked = list(lock.read(lock.LOCKS / "image-embedded.txt"))

    for package in locked:
        found = components[f"pkg:pypi/{package.name}@{package.version}"]
        assert {each["name"]: each["hashes"][0]["content"] for each in found["components"]} == package.wheels
        assert [each["expression"] for each in found["licenses"]] == [listed[package.name]]
    assert {purl for purl in components if purl.startswith("pkg:pypi/")} == {
        f"pkg:pypi/{each.name}@{each.version}" for each in locked
    }
    assert any(purl.startswith("pkg:pypi/chdb-core@") for purl in components)


def test_the_vendored_library_and_the_base_image_are_in_the_bill(bill: Bill) -> None:
    components = {each["purl"]: each for each in bill["components"]}
    record = charts.record()

    for each in record["packages"]:
        assert components[f"pkg:npm/{each['name']}@{each['version']}"]["licenses"] == [{"expression": each["license"]}]
    (echarts,) = [each for purl, each in components.items() if purl.startswith("pkg:npm/echarts@")]
    assert {each["name"]: each["hashes"][0]["content"] for each in echarts["components"]} == record["sha256"]
    (base,) = [each for each in bill["components"] if each["type"] == "container"]
    assert f"FROM python:{base['version']}@sha256:{base['hashes'][0]['content']}" in (ROOT / "Dockerfile").read_text()


def test_everything_in_the_bill_is_asked_for_by_something(bill: Bill) -> None:
    root = bill["metadata"]["component"]
    asks = {each["ref"]: set(each.get("dependsOn", ())) for each in bill["dependencies"]}
    reached, todo = set(), {root["bom-ref"]}
    while todo:
        reference = todo.pop()
        reached.add(reference)
        todo |= asks.get(reference, set()) - reached

    assert root["version"] == VERSION
    assert {each["bom-ref"] for each in bill["components"]} <= reached


def test_the_same_tree_has_the_same_number(bill: Bill) -> None:
    assert sbom.bill().serial_number.urn == bill["serialNumber"]


def test_the_list_of_licences_is_what_is_locked() -> None:
    assert licenses.DOCUMENT.read_text() == licenses.written(licenses.packages()), "run `make golden`"
    assert licenses.main(check=True) == 0


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("MIT", set()),
        ("MIT OR GPL-3.0-only", set()),
        ("MIT AND GPL-3.0-only", {"GPL-3.0-only"}),
        ("AGPL-3.0-or-later", {"AGPL-3.0-or-later"}),
        ("(GPL-2.0-only OR AGPL-3.0-only) AND MIT", {"GPL-2.0-only", "AGPL-3.0-only"}),
        ("Apache-2.0 WITH LLVM-exception", set()),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"GPL-2.0-only WITH Classpath-exception-2.0"}),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", set()),
        ("SSPL-1.0", {"SSPL-1.0"}),
    ],
)
def test_a_licence_that_is_not_allowed_is_named(expression: str, wrong: set[str]) -> None:
    assert licenses.refused(expression) == wrong
    if wrong:
        with pytest.raises(ValueError, match="licences: must be of"):
            licenses.written([licenses.Licensed("a", "1", expression, "metadata")])


@pytest.mark.parametrize("about", [{}, {"License": "BSD"}, {"License-Expression": "Whatever"}, {"License": "see file"}])
def test_a_package_without_a_licence_that_can_be_told_is_refused(about: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="unknown-package: metadata must name a licence"):
        licenses.of_metadata("unknown-package", about, ["License :: Other/Proprietary License"])


def test_what_we_read_ourselves_is_needed() -> None:
    said = {each.name for each in licenses.packages() if each.said_by != "metadata" and "JavaScript" not in each.name}

    assert said == set(licenses.READ_BY_US)
