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
_PINNED = re.compile(r"[a-z0-9./-]+:[0-9][\w.-]*@sha256:[0-9a-f]{64}")


def named() -> dict[str, str]:
    """Every foreign image with its tag, and what it is for."""
    images: dict[str, str] = yaml.safe_load((ROOT / "k8s" / "images.yaml").read_text())
    return images


def is_pinned(image: str) -> bool:
    """Whether it is ours, or has a digest, and a tag that begins with a number, which tells people the version."""
    return image == OURS or _PINNED.fullmatch(image) is not None
