"""The images that files of this repository may name, and where each of them is fixed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# Built from the Dockerfile.
OURS = f"sluiceway:{VERSION}"
_TAG = re.compile(r":[0-9][\w.-]*$")


def named() -> dict[str, str]:
    """Every foreign image with its tag, and what it is for."""
    images: dict[str, str] = yaml.safe_load((ROOT / "k8s" / "images.yaml").read_text())
    return images


def is_pinned(image: str) -> bool:
    """Whether the tag begins with a number: `latest`, `stable` or none at all would change below us."""
    return _TAG.search(image) is not None
