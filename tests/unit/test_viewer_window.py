"""The time range of a page, as its address says it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.viewer.window import WindowError, parse

NOW_S = 1_766_000_123.5


def test_the_default_is_the_last_fifteen_minutes_in_whole_minutes() -> None:
    window = parse(None, None, NOW_S)
    assert (window.from_s, window.to_s, window.step_s) == (1_765_999_200, 1_766_000_160, 60)
    assert window.live


@pytest.mark.parametrize(
    ("text", "moment_s"),
    [
        ("now-1h", NOW_S - 3600),
        ("now-90s", NOW_S - 90),
        ("now-2d", NOW_S - 172_800),
        ("1765990000000", 1_765_990_000),
        ("2025-12-17T16:00:00Z", 1_765_987_200),
        ("2025-12-17T17:00:00+01:00", 1_765_987_200),
        ("2025-12-17 16:00", 1_765_987_200),
    ],
)
def test_an_end_is_relative_or_milliseconds_or_iso_time(text: str, moment_s: float) -> None:
    window = parse(text, "now", NOW_S)
    assert window.from_s <= moment_s < window.from_s + window.step_s


@pytest.mark.parametrize(
    "text", ["yesterday", "now-", "now-5y", "now-1h;DROP TABLE x", "-1", "²", "9" * 30, "2025-13-01", "0001-01-01"]
)
def test_what_cannot_be_read_is_refused_with_field_rule_and_value(text: str) -> None:
    with pytest.raises(WindowError, match="from must be now, now-15m") as refusal:
        parse(text, "now", NOW_S)
    assert repr(text[:80]) in str(refusal.value)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(WindowError, match="from must be earlier than to"):
        parse("now", "now-1h", NOW_S)


def test_a_range_that_does_not_end_now_is_not_live() -> None:
    assert not parse("now-2h", "now-1h", NOW_S).live


@given(back_s=st.integers(1, 40 * 365 * 86400))
def test_any_range_has_at_most_a_hundred_whole_steps_that_cover_it(back_s: int) -> None:
    window = parse(f"{int((NOW_S - back_s) * 1000)}", "now", NOW_S)
    assert len(window.steps) <= 100
    assert window.step_s % 60 == 0
    assert window.from_s <= NOW_S - back_s + 1
    assert window.to_s >= NOW_S


@given(text=st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        window = parse(text, "now", NOW_S)
    except WindowError:
        return
    assert window.from_s < window.to_s


def test_a_step_that_is_not_over_counts_the_seconds_so_far() -> None:
    window = parse("now-15m", "now", NOW_S)
    last = window.steps[-1]
    assert pytest.approx(23.5) == window.covered_s(last, last + 60)
    assert window.covered_s(last - 60, last) == 60
