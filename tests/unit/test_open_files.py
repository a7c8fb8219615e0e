"""The bound on open files: raised at start, shown by the doctor, never promised to more connections than fit."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import doctor, open_files
from sluiceway.config import SETTINGS, Config

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from sluiceway import open_files
print(open_files.raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), [(256, 4096), (256, 256), (1024, 8192)])
def test_the_limit_is_raised_to_the_hard_one(soft: int, hard: int) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", _LIMITED.format(soft=soft, hard=hard)], capture_output=True, text=True, check=True
    )

    assert shown.stdout.split() == [str(hard)] * 3


@given(limit=st.integers(0, 5000), ingest=st.integers(1, 4096), viewer=st.integers(65, 4096))
def test_bounds_on_connections_fit_whatever_the_limit_is(limit: int, ingest: int, viewer: int) -> None:
    config = Config(ingest={"max_connections": ingest}, viewer={"max_connections": viewer})
    fitted = open_files.fitted(config, limit)

    assert fitted.ingest.max_connections <= ingest
    assert fitted.viewer.max_pages < fitted.viewer.max_connections <= viewer
    fewest = sum(
        min(bound.value_in(config), 65 if bound.path[0] == "viewer" else 64)
        for bound in SETTINGS
        if bound.path[-1].endswith("max_connections")
    )
    assert open_files.needed(fitted) <= max(limit, open_files.KEPT + fewest)
    assert (fitted is config) == (open_files.needed(config) <= limit)


def test_what_is_lowered_is_told_with_its_setting(caplog: pytest.LogCaptureFixture) -> None:
    open_files.fitted(Config(), 1024)

    (told,) = caplog.messages
    assert told.startswith("open files: at most 1024, of which ")
    assert "ingest.max_connections=" in told
    assert "viewer.max_connections=" in told


def test_the_doctor_shows_the_limit_and_what_may_be_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "limits", lambda: (1024, 100_000))
    seen = doctor.open_files(Config())
    assert seen.status is doctor.Status.OK
    assert seen.seen == f"at most 1024, raised to 100000 at start; {open_files.needed(Config())} may be needed"

    monkeypatch.setattr(doctor, "limits", lambda: (256, 256))
    assert doctor.open_files(Config()).status is doctor.Status.WARN
