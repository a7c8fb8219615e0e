"""The verdict of the simulation: what counts as paged, and what as a miss or a false page."""

from __future__ import annotations

import pytest

from bench.outcomes.__main__ import verdict
from bench.outcomes.incidents import Incident
from bench.outcomes.play import Page

INCIDENT = Incident("zone", 600_000, "shop", ["zone=c"])
GOOD = Page(600_179, "error-spike", "shop", "cart fails: zone=c")


def test_the_owner_in_time_with_the_culprit_is_well() -> None:
    line, well = verdict(INCIDENT, [GOOD])
    assert well
    assert line[:4] == ["zone", "3 min", "shop (error-spike)", "yes"]


@pytest.mark.parametrize(
    ("found", "column", "says"),
    [
        ([], 1, "never"),
        ([Page(600_359, "error-spike", "shop", "zone=c")], 1, "6 min"),
        ([Page(600_179, "error-spike", "web", "zone=c")], 2, "web (error-spike)"),
        ([Page(600_179, "error-spike", "shop", "something")], 3, "no"),
        ([GOOD, Page(600_239, "error-spike", "web", "zone=c")], 5, "web: error-spike"),
        ([Page(599_000, "saturation", "shop", "x"), GOOD], 5, "shop: saturation"),
    ],
)
def test_all_else_is_not(found: list[Page], column: int, says: str) -> None:
    line, well = verdict(INCIDENT, found)
    assert not well
    assert line[column] == says
