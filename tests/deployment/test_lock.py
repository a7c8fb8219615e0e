"""The image's locks: they fit pyproject.toml, they are whole, and have a hash of a wheel for every platform."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement
from packaging.tags import parse_tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from supply import lock
from supply.lock import MACHINES, NAMES, Locked
from tests.deployment.images import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
ASKED = {
    "image-embedded.txt": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["embedded"]],
    "image.txt": PROJECT["dependencies"],
    "build.txt": PYPROJECT["build-system"]["requires"],
}
every_lock = pytest.mark.parametrize("name", NAMES)
every_platform = pytest.mark.parametrize("platform", MACHINES)


def locked(name: str) -> dict[str, Locked]:
    return {each.name: each for each in lock.read(lock.LOCKS / name)}


def unmet(requirements: list[str], packages: dict[str, Locked], platform: str) -> list[str]:
    """Requirements that a lock does not meet on a platform."""
    missing = []
    for requirement in map(Requirement, requirements):
        if lock.holds(str(requirement.marker) if requirement.marker else None, platform):
            found = packages.get(canonicalize_name(requirement.name))
            if found is None or not requirement.specifier.contains(found.version, prereleases=True):
                missing.append(str(requirement))
    return missing


@every_lock
def test_every_line_of_a_lock_is_a_package_with_hashes(name: str) -> None:
    text = (lock.LOCKS / name).read_text()

    assert lock.written(list(locked(name).values())) == text, "run `make lock`"
    assert set(ASKED) == set(NAMES) == {path.name for path in lock.LOCKS.iterdir()}
    # Whoever installs from it says where from.
    assert not re.search(r"https?:|--index|--find-links|--trusted", text)


@every_lock
@every_platform
def test_what_pyproject_asks_for_is_locked_within_its_bounds(name: str, platform: str) -> None:
    assert unmet(ASKED[name], locked(name), platform) == [], "run `make lock`"


@every_lock
@every_platform
def test_what_the_locked_ask_for_is_locked(name: str, platform: str) -> None:
    """By the metadata of the packages that are installed here in the very version that is locked."""
    packages = locked(name)
    compared = 0
    for package in packages.values():
        try:
            installed = metadata.distribution(package.name)
        except metadata.PackageNotFoundError:
            continue
        if Version(installed.version) == Version(package.version):
            compared += 1
            assert unmet(installed.requires or [], packages, platform) == [], package.name
    assert compared > len(packages) // 2


@every_lock
@every_platform
def test_there_is_a_wheel_for_every_platform(name: str, platform: str) -> None:
    tags = lock.supported(platform).keys()
    for package in locked(name).values():
        names = {file: parse_wheel_filename(file) for file in package.wheels}
        assert {(of, str(version)) for of, version, *_ in names.values()} == {
            (package.name, str(Version(package.version)))
        }
        fitting = [file for file, (*_, of) in names.items() if of & tags]
        assert len(fitting) == 1, (package.name, platform)
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in package.wheels.values())
        # None but those of the platforms.
        assert len(package.wheels) <= len(MACHINES)


def test_the_two_images_have_the_same_versions() -> None:
    whole, plain = locked("image-embedded.txt"), locked("image.txt")

    assert plain.items() <= whole.items()
    assert "chdb-core" in set(whole) - set(plain)


def test_the_locks_are_for_the_base_that_the_image_has() -> None:
    with (ROOT / "Dockerfile").open("rb") as file:
        base = DockerfileParser(fileobj=file).baseimage

    assert re.search(rf":{lock.PYTHON[0]}\.{lock.PYTHON[1]}\.\d+-slim-bookworm@", base)
    # Debian 12.
    assert lock.GLIBC_MINOR == 36
    assert parse_tag("cp311-cp311-manylinux_2_36_x86_64") <= lock.supported("amd64").keys()
    assert not parse_tag("cp311-cp311-manylinux_2_37_x86_64") & lock.supported("amd64").keys()
    assert not parse_tag("cp311-cp311-musllinux_1_2_x86_64") & lock.supported("amd64").keys()


@pytest.mark.parametrize(
    ("names", "platform", "best"),
    [
        (["a-1-py3-none-any.whl", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl"], "amd64", 1),
        (["a-1-cp39-abi3-manylinux2014_x86_64.whl", "a-1-py3-none-any.whl"], "amd64", 0),
        (["a-1-cp311-cp311-manylinux2014_x86_64.whl", "a-1-cp311-cp311-manylinux_2_28_x86_64.whl"], "amd64", 1),
        (["a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "a-1-py3-none-any.whl"], "arm64", 1),
        (["a-1-cp312-cp312-manylinux_2_28_x86_64.whl"], "amd64", None),
        (["a-1-cp311-cp311-manylinux_2_39_aarch64.whl"], "arm64", None),
        (["a-1-cp311-cp311-win_amd64.whl", "a-1-cp311-cp311-macosx_11_0_arm64.whl"], "arm64", None),
    ],
)
def test_the_wheel_of_a_platform_is_the_one_that_pip_prefers(names: list[str], platform: str, best: int | None) -> None:
    assert lock.best_wheel(names, platform) == (None if best is None else names[best])


def test_a_package_without_a_wheel_for_a_platform_is_refused() -> None:
    wheel = {"name": "a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "hashes": {"sha256": "0" * 64}}
    with pytest.raises(ValueError, match="a 1: must have a wheel for arm64"):
        lock.chosen({"packages": [{"name": "a", "version": "1", "wheels": [wheel]}]})
    only = {"name": "a", "version": "1", "marker": "platform_machine == 'x86_64'", "wheels": [wheel]}
    (found,) = lock.chosen({"packages": [only]})
    assert found.wheels == {wheel["name"]: "0" * 64}
    assert lock.chosen({"packages": [only | {"marker": "sys_platform == 'win32'"}]}) == []


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    """Every `pip install` of the Dockerfile asks for hashes, or takes our own wheel and no index."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    installs = re.findall(r"-m pip (?:--python \S+ )?(install|wheel) ([^&]+)", text)

    assert len(installs) == 4
    for _, arguments in installs:
        hashed = "--require-hashes" in arguments and "--only-binary=:all:" in arguments
        assert hashed or ("--no-index" in arguments and "--no-deps" in arguments), arguments
    named = {"".join(found) for found in re.findall(r"-r \"?(locks/\S+?\.txt)", text)}
    assert named == {"locks/build.txt", "locks/image${EXTRAS:+-$EXTRAS}.txt"}
    for extras in ("", "-embedded"):
        assert Path(lock.LOCKS, f"image{extras}.txt").exists()


def test_what_is_tested_is_what_the_image_installs() -> None:
    """The environment of CI is made with the locked versions as constraints."""
    made = (ROOT / "Makefile").read_text()

    assert "-c .venv/constraints.txt -e '.[embedded,dev]'" in made
    pattern = re.search(r"grep -oE '([^']+)' locks/image-embedded.txt > .venv/constraints.txt", made)
    assert pattern is not None
    taken = re.findall(f"(?m){pattern[1]}", (lock.LOCKS / "image-embedded.txt").read_text())
    assert taken == [f"{each.name}=={each.version}" for each in locked("image-embedded.txt").values()]
