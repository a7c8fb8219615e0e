"""`python -m supply.images [--write]`: the digests of the foreign images, asked of their registries through Docker.

Prints each image of k8s/images.yaml whose tag has another digest by now, and exits with 1 if there is any; with
`--write` the files that name it are changed. Needs `docker buildx` and a network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "k8s" / "images.yaml"
PLATFORMS = {"linux/amd64", "linux/arm64"}


def named() -> dict[str, str]:
    """The digest of each tag, as the list has it."""
    images = yaml.safe_load(LIST.read_text())
    return dict(image.split("@") for image in images)


def files() -> Iterator[Path]:
    """All files that may name an image."""
    yield ROOT / "Dockerfile"
    yield ROOT / "compose.yaml"
    yield from sorted((ROOT / "k8s").rglob("*.yaml"))
    yield from sorted((ROOT / "tests" / "golden" / "k8s").glob("*.yaml"))


def of_index(manifest: str) -> str:
    """The digest of what `docker buildx imagetools inspect --format '{{json .Manifest}}'` printed.

    Raises:
        ValueError: it is no index of all platforms that our own image is made for.
    """
    read = json.loads(manifest)
    found = {f"{each['platform']['os']}/{each['platform']['architecture']}" for each in read.get("manifests", ())}
    if not found >= PLATFORMS:
        raise ValueError(f"digest: must be of an index with {sorted(PLATFORMS)}; got {sorted(found)}")
    digest: str = read["digest"]
    return digest


def resolved(tag: str) -> str:
    """The digest that the registry has for a tag now."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", tag]
    return of_index(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def renewed(text: str, tag: str, digest: str) -> str:
    """A file in which every mention of a tag has this digest."""
    return re.sub(rf"(?<![\w./-]){re.escape(tag)}@sha256:[0-9a-f]{{64}}", f"{tag}@{digest}", text)


def main(*, write: bool) -> int:
    """How many tags have another digest than the list."""
    changed = 0
    for tag, before in named().items():
        now = resolved(tag)
        if now != before:
            changed += 1
            print(f"{tag}: {before} is {now} now")
            if write:
                for file in files():
                    file.write_text(renewed(file.read_text(), tag, now))
    return changed


if __name__ == "__main__":
    sys.exit(bool(main(write="--write" in sys.argv[1:])))
