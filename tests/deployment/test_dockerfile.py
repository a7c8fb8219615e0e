"""The Dockerfile: what it copies exists and is let through, and what it makes runs as a number and as nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from tests.deployment.images import OURS, ROOT, is_pinned, named

Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def stages() -> list[list[Instruction]]:
    """The instructions of each stage, in order, comments left out."""
    with (ROOT / "Dockerfile").open("rb") as file:
        parsed = DockerfileParser(fileobj=file).structure
    found: list[list[Instruction]] = []
    for line in parsed:
        if line["instruction"] == "FROM":
            found.append([])
        if line["instruction"] != "COMMENT":
            found[-1].append((line["instruction"], line["value"]))
    return found


def values(stage: list[Instruction], instruction: str) -> list[str]:
    return [value for name, value in stage if name == instruction]


def copied_in(stage: list[Instruction]) -> list[str]:
    """What a stage takes from the folder of the build."""
    return [
        source for value in values(stage, "COPY") if not value.startswith("--from") for source in value.split()[:-1]
    ]


def test_the_linter_has_nothing_to_say() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_every_base_is_named_and_pinned(stages: list[list[Instruction]]) -> None:
    bases = {values(stage, "FROM")[0].split()[0] for stage in stages}

    assert bases <= set(named())
    assert all(map(is_pinned, bases))


def test_what_is_copied_is_what_is_let_through_and_tracked(stages: list[list[Instruction]]) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert "*" in lines
    assert set(copied_in(stages[0])) == let_through
    assert let_through <= {path.split("/")[0] for path in tracked}


def test_the_image_runs_as_a_number_that_is_not_root(stages: list[list[Instruction]]) -> None:
    (user,) = values(stages[-1], "USER")
    uid, gid = map(int, user.split(":"))

    assert min(uid, gid) >= 10_000
    # Nothing after it runs as root again, and no step of the last stage but the one before it did.
    assert [name for name, _ in stages[-1]].index("USER") > max(
        index for index, (name, _) in enumerate(stages[-1]) if name in ("RUN", "COPY")
    )


def test_the_image_starts_the_command_and_watches_it(stages: list[list[Instruction]]) -> None:
    (entrypoint,) = values(stages[-1], "ENTRYPOINT")
    (health,) = values(stages[-1], "HEALTHCHECK")
    probe = json.loads(health.split(" CMD ")[1])

    assert json.loads(entrypoint) == ["sluiceway"]
    assert probe[:2] == ["python", "-c"]
    assert "http://127.0.0.1:8080/healthz" in probe[2]
    compile(probe[2], "HEALTHCHECK", "exec")


def test_the_code_is_compiled_for_the_machine_and_in_the_place_that_it_will_run_on(
    stages: list[list[Instruction]],
) -> None:
    build, image = (
        dict(pair.split("=", 1) for value in values(stage, "ENV") for pair in value.split()) for stage in stages
    )

    for name in ("NUMBA_CPU_NAME", "XDG_CACHE_HOME"):
        assert build[name] == image[name]
    assert image["NUMBA_CPU_NAME"] == "generic"
    assert Path(image["XDG_CACHE_HOME"]).is_relative_to(values(stages[-1], "COPY")[0].split()[-1])


def test_the_version_in_the_usage_is_ours() -> None:
    assert f"docker build -t {OURS} ." in (ROOT / "Dockerfile").read_text()
