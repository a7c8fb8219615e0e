"""`python -m supply.sbom FILE`: a software bill of materials of the image in the form of CycloneDX 1.6.

It lists every locked package with its wheels' hashes and what it asks for, the engine's wheel among them, the vendored
chart library with what is bundled in it, and the base image; licences as docs/licenses.md has them.
"""

from __future__ import annotations

import re
import sys
import tomllib
import uuid
from importlib import metadata
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply import charts, licenses, lock

ROOT = Path(__file__).resolve().parent.parent
_BASE = re.compile(r"(?m)^FROM (\S+?):(\S+?)@sha256:([0-9a-f]{64})$")


def _file(name: str, sha256: str, within: str) -> Component:
    digest = HashType(alg=HashAlgorithm.SHA_256, content=sha256)
    return Component(name=name, type=ComponentType.FILE, bom_ref=f"{within}#{name}", hashes=[digest])


def _package(package: lock.Locked, license_expression: str) -> Component:
    url = PackageURL("pypi", None, package.name, package.version)
    return Component(
        name=package.name, version=package.version, purl=url, bom_ref=str(url), type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED, licenses=[LicenseExpression(license_expression)],
        # A wheel for each platform: one of them is what an image has.
        components=[_file(name, digest, str(url)) for name, digest in package.wheels.items()],
    )  # fmt: skip


def _vendored() -> list[Component]:
    """ECharts, and what its one file was built with."""
    record = charts.record()
    made = []
    for each in record["packages"]:
        url = PackageURL("npm", None, each["name"], each["version"])
        files = record["sha256"].items() if each["name"] == "echarts" else ()
        made.append(
            Component(
                name=each["name"],
                version=each["version"],
                purl=url,
                bom_ref=str(url),
                type=ComponentType.LIBRARY,
                scope=ComponentScope.REQUIRED,
                licenses=[LicenseExpression(each["license"])],
                components=[_file(name, digest, str(url)) for name, digest in files],
            )
        )
    return made


def _base() -> Component:
    (*_, (name, tag, digest)) = _BASE.findall((ROOT / "Dockerfile").read_text())
    url = PackageURL("docker", None, name, f"sha256:{digest}", {"tag": tag})
    return Component(
        name=name, version=tag, purl=url, bom_ref=str(url), type=ComponentType.CONTAINER,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )  # fmt: skip


def _asked(name: str, known: set[str]) -> set[str]:
    """The locked packages that an installed one asks for on any platform of the image."""
    wanted = map(Requirement, metadata.requires(name) or ())
    return {
        canonicalize_name(each.name)
        for each in wanted
        if canonicalize_name(each.name) in known
        and any(lock.holds(str(each.marker) if each.marker else None, platform) for platform in lock.MACHINES)
    }


def bill() -> Bom:
    """The bill of this tree.

    Raises:
        ValueError: a package has no licence that we can tell.
        PackageNotFoundError: a locked package is not installed here.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    path = lock.LOCKS / "image-embedded.txt"
    said = {each.name: each.license for each in licenses.packages()}
    made = {package.name: _package(package, said[package.name]) for package in lock.read(path)}
    vendored = _vendored()
    image = Component(
        name=project["name"], version=project["version"], type=ComponentType.APPLICATION,
        licenses=[LicenseExpression(project["license"])], bom_ref=f"pkg:pypi/{project['name']}@{project['version']}",
        purl=PackageURL("pypi", None, project["name"], project["version"]),
    )  # fmt: skip
    # The same bill has the same number.
    number = uuid.uuid5(uuid.NAMESPACE_OID, path.read_text() + charts.RECORD.read_text() + str(_base().purl))
    bom = Bom(components=[*made.values(), *vendored, _base()], serial_number=number)
    bom.metadata.component = image
    direct = {
        canonicalize_name(Requirement(line).name)
        for line in [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    }
    bom.register_dependency(image, [*(made[name] for name in sorted(direct & made.keys())), *vendored[:1], _base()])
    bom.register_dependency(vendored[0], vendored[1:])
    for name, component in made.items():
        bom.register_dependency(component, [made[each] for each in sorted(_asked(name, set(made)))])
    return bom


def written(bom: Bom) -> str:
    """The bill as JSON.

    Raises:
        ValueError: it breaks CycloneDX's own schema.
    """
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ValueError(f"bill of materials: must follow CycloneDX 1.6; {wrong}")
    return text


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    made_here = bill()
    target.write_text(written(made_here))
    print(f"{target}: {len(made_here.components)} components")
