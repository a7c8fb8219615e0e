"""Foreign images: one digest a tag, the same in every file, and how a digest is renewed."""

from __future__ import annotations

import json
import re

import pytest

from supply import images
from tests.deployment.images import OURS, ROOT, is_pinned, named

DIGEST = "sha256:" + "0" * 64
# An image in a Dockerfile, in Compose's and Kubernetes' files.
_NAMED = re.compile(r"(?m)^(?:FROM|\s*(?:- )?image:)\s+(\S+)")


def mentioned() -> set[str]:
    return {image for file in images.files() for image in _NAMED.findall(file.read_text())}


def test_every_image_of_every_file_has_the_digest_of_the_list() -> None:
    assert mentioned() - {OURS} == set(named())
    assert [image for image in mentioned() if not is_pinned(image)] == []
    assert len(images.named()) == len(named())


@pytest.mark.parametrize("image", sorted(named()))
def test_a_tag_without_its_digest_or_with_a_moving_tag_is_refused(image: str) -> None:
    tag, _, digest = image.partition("@")
    name = tag.partition(":")[0]

    assert is_pinned(image)
    for loose in (tag, name, f"{name}@{digest}", f"{name}:latest@{digest}", image[:-1], f"{tag}@md5:{digest[7:]}"):
        assert not is_pinned(loose)


@pytest.mark.parametrize("image", sorted(named()))
def test_a_renewed_digest_is_in_every_file_that_names_the_image_and_changes_nothing_else(image: str) -> None:
    tag = image.partition("@")[0]
    changed = 0
    for file in images.files():
        before = file.read_text()
        after = images.renewed(before, tag, DIGEST)
        assert image not in after
        assert after.replace(f"{tag}@{DIGEST}", image) == before
        changed += after != before
    assert changed >= 2


def test_a_digest_of_one_platform_is_refused() -> None:
    platforms = [{"platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64")]

    assert images.of_index(json.dumps({"digest": DIGEST, "manifests": platforms})) == DIGEST
    for manifest in ({"digest": DIGEST}, {"digest": DIGEST, "manifests": platforms[:1]}):
        with pytest.raises(ValueError, match="digest: must be of an index"):
            images.of_index(json.dumps(manifest))


def test_our_own_image_is_deployed_by_the_digest_that_the_push_printed() -> None:
    for file in (ROOT / "docs/deployment.md", *(ROOT / "k8s/overlays").glob("*/kustomization.yaml")):
        (image,) = re.findall(r"set image sluiceway=(\S+?)\)?\s", file.read_text())
        assert image.endswith("@sha256:…"), file
