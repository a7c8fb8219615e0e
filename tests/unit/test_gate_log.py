"""The gate's log does not grow with what strangers send."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadStatusLine

from sluiceway.gate import log


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    made = logging.getLogger("of this test")
    made.propagate = False
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    handler.addFilter(log.Sparing())
    made.handlers = [handler]
    yield made
    made.handlers = []
    handler.close()


def written(tmp_path: Path) -> str:
    return (tmp_path / "log").read_text("utf-8")


def fail(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except Exception:
        logger.exception("a request failed")


def test_a_request_that_is_none_is_not_reported(logger: logging.Logger, tmp_path: Path) -> None:
    fail(logger, BadStatusLine("x" * 100_000))
    assert written(tmp_path) == ""


def test_a_failure_of_ours_is_reported_by_its_end(logger: logging.Logger, tmp_path: Path) -> None:
    fail(logger, ValueError("y" * 100_000 + " the end"))
    assert written(tmp_path).endswith(" the end\n")
    assert len(written(tmp_path)) < 5_000


def test_few_failures_a_minute_are_reported(
    logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [600.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    for _ in range(100):
        logger.warning("once more")
    assert written(tmp_path).count("once more") == 10
    now[0] += 60
    logger.warning("later")
    assert "later" in written(tmp_path)
