"""`python -m supply.lock [--upgrade]`: the packages of the image, by version and hash, written to `locks/`.

Each lock holds the wheels that pip would choose on the image's platforms and no other file: no source distribution,
whose set-up would run code of its own while the image is made, can be installed from it. Versions stay as they are
locked until `--upgrade`, or until pyproject.toml asks for others.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging import tags
from packaging.markers import Marker
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
# Python and C library of the base that the Dockerfile names, on the machines that its tag is published for.
PYTHON = (3, 11)
GLIBC_MINOR = 36
# Docker's name of a platform, Python's name of its machine, and the oldest C library that wheels were built for there.
MACHINES = {"amd64": ("x86_64", 5), "arm64": ("aarch64", 17)}
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_HEAD = """\
# Written by `make lock`: what the image installs, as pip chooses it for Python {python} on {platforms}. DO NOT EDIT.
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """One package: the names of its wheels, the same on several platforms or one for each, and their SHA-256."""

    name: str
    version: str
    wheels: dict[str, str]


def platform_tags(machine: str, oldest: int) -> list[str]:
    """As pip lists them on the base image, best first."""
    found = []
    for minor in range(GLIBC_MINOR, oldest - 1, -1):
        found.append(f"manylinux_2_{minor}_{machine}")
        if minor in _LEGACY:
            found.append(f"{_LEGACY[minor]}_{machine}")
    return [*found, f"linux_{machine}"]


def supported(platform: str) -> dict[tags.Tag, int]:
    """The tags that pip takes on a platform of the image, with their rank: 0 is the best."""
    machine, oldest = MACHINES[platform]
    platforms = platform_tags(machine, oldest)
    ordered = [
        *tags.cpython_tags(PYTHON, abis=["cp311"], platforms=platforms),
        *tags.compatible_tags(PYTHON, interpreter="cp311", platforms=platforms),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(ordered)))}


def holds(marker: str | None, platform: str) -> bool:
    """Whether a requirement with this marker is one of the image's."""
    environment = {
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
        "platform_machine": MACHINES[platform][0],
        "implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": "",
        "python_version": ".".join(map(str, PYTHON)), "python_full_version": ".".join(map(str, (*PYTHON, 0))),
    }  # fmt: skip
    return marker is None or Marker(marker).evaluate(environment)


def best_wheel(names: Sequence[str], platform: str) -> str | None:
    """The file that pip prefers on a platform; None where there is none for it."""
    ranks = supported(platform)
    ranked = [
        (min(ranks[tag] for tag in of if tag in ranks), name)
        for name in names
        if (of := parse_wheel_filename(name)[3]) & ranks.keys()
    ]
    return min(ranked)[1] if ranked else None


def chosen(resolved: dict[str, Any]) -> list[Locked]:
    """Of a resolution in the form of PEP 751, the wheels of the image's platforms.

    Raises:
        ValueError: a package has no wheel for a platform.
    """
    found = []
    for package in resolved["packages"]:
        platforms = [platform for platform in MACHINES if holds(package.get("marker"), platform)]
        hashes = {
            wheel.get("name") or wheel["url"].rpartition("/")[2]: wheel["hashes"]["sha256"]
            for wheel in package.get("wheels", ())
        }
        wheels = {}
        for platform in platforms:
            name = best_wheel(sorted(hashes), platform)
            if name is None:
                raise ValueError(
                    f"{package['name']} {package['version']}: must have a wheel for {platform}; got {hashes}"
                )
            wheels[name] = hashes[name]
        if wheels:
            found.append(Locked(canonicalize_name(package["name"]), package["version"], wheels))
    return sorted(found, key=lambda each: each.name)


def written(packages: Sequence[Locked]) -> str:
    """A lock as `pip install --require-hashes` reads it; each hash is below the name of its file."""
    lines = [_HEAD.format(python=".".join(map(str, PYTHON)), platforms=" and ".join(MACHINES))]
    for each in packages:
        lines += [f"# {name}\n" for name in each.wheels]
        lines += [
            f"{each.name}=={each.version}",
            *(f" \\\n    --hash=sha256:{of}" for of in each.wheels.values()),
            "\n",
        ]
    return "".join(lines)


def read(path: Path) -> Iterator[Locked]:
    """The packages of a lock."""
    pinned = r"(?m)((?:^# \S+\.whl\n)+)^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$"
    for names, name, version, hashes in re.findall(pinned, path.read_text()):
        files = re.findall(r"(?m)^# (\S+)$", names)
        yield Locked(name, version, dict(zip(files, re.findall(r"sha256:([0-9a-f]+)", hashes), strict=True)))


def _compile(*arguments: str | Path) -> None:
    command = ["uv", "pip", "compile", "--quiet", "--universal", f"--python-version={'.'.join(map(str, PYTHON))}"]
    subprocess.run([Path(sys.executable).with_name("uv"), *command[1:], *arguments], cwd=ROOT, check=True, timeout=600)


def lock(target: Path, source: Path, *arguments: str, kept: Path) -> None:
    """Resolve a source of requirements, preferring the versions of `kept` where it exists, and write the lock."""
    with tempfile.TemporaryDirectory() as folder:
        pins, resolved = Path(folder, "requirements.txt"), Path(folder, "pylock.toml")
        if kept.exists():
            pins.write_text("".join(f"{each.name}=={each.version}\n" for each in read(kept)))
        _compile(source, *arguments, "--output-file", pins)
        _compile(pins, "--no-deps", "--format", "pylock.toml", "--output-file", resolved)
        target.write_text(written(chosen(tomllib.loads(resolved.read_text()))))


def main(upgrade: bool) -> None:
    """Write all locks. The image's versions are those that it has with the embedded store."""
    LOCKS.mkdir(exist_ok=True)
    nothing = Path("/nonexistent")
    pyproject, whole, plain, build = ROOT / "pyproject.toml", *(LOCKS / name for name in NAMES)
    lock(whole, pyproject, "--extra", "embedded", kept=nothing if upgrade else whole)
    lock(plain, pyproject, kept=whole)
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "build.in")
        wanted.write_text("\n".join(tomllib.loads(pyproject.read_text())["build-system"]["requires"]))
        lock(build, wanted, kept=nothing if upgrade else build)


# With the extra of the embedded store, without it, and what makes our own wheel.
NAMES = ("image-embedded.txt", "image.txt", "build.txt")

if __name__ == "__main__":
    main("--upgrade" in sys.argv[1:])
