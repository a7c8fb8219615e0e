"""The viewer's page of alerts: what fires now from the evaluator's states, what was from the file of records."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dashboards.alerts.evaluate import RuleState
from dashboards.alerts.incident import Incident
from dashboards.alerts.incidents import IncidentFile
from dashboards.alerts.rules import RULES
from dashboards.alerts.state import Pending
from dashboards.settings import ViewerSettings
from dashboards.viewer.alerts import Alerting
from dashboards.viewer.serve import Viewer
from processors.store_client import connect
from tests.viewer_under_test import GivenHealth, get

BY_NAME = {rule.name: rule for rule in RULES}
HOSTILE = "<script>alert('x')</script>\"&?#/../"


@contextmanager
def serving(alerting: Alerting) -> Iterator[Viewer]:
    """A viewer whose store is away; the page asks it nothing."""
    viewer = Viewer(ViewerSettings(port=0), lambda: connect("http://127.0.0.1:9"), GivenHealth(), alerting=alerting)
    viewer.start()
    try:
        yield viewer
    finally:
        viewer.stop()


def incident(id_: str, service: str = "cart", **fields: object) -> Incident:
    now_s = time.time()
    made = Incident(
        id_, "service-silent", (("service", service),), "page", "service", "shop", f"{service} is silent", 6.0, 9.0,
        now_s - 400, now_s - 300,
    )  # fmt: skip
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def states(firing: Sequence[Incident] = (), pending: Sequence[Pending] = ()) -> list[RuleState]:
    now_s = time.time()
    return [
        RuleState(BY_NAME["service-silent"], now_s, True, (), tuple(firing)),
        RuleState(BY_NAME["pipeline-behind"], now_s, True, tuple(pending), ()),
        RuleState(BY_NAME["dead-letters"], now_s, False, (), ()),
        RuleState(BY_NAME["cardinality"], None, False, (), ()),
    ]


def row(page: str, mark: str) -> str:
    found = re.search(rf"<tr {mark}>.*?</tr>", page, re.DOTALL)
    assert found, f"no {mark}"
    return found[0]


def test_what_fires_stands_first_with_its_links_and_every_page_counts_it() -> None:
    firing = [
        incident("cafe0001", trace="0af7651916cd43dd8448eb211c80319c"),
        incident("cafe0002", "pay", acknowledged_s=time.time(), acknowledged_by="Ida"),
    ]
    alerting = Alerting(lambda: states(firing), None, "https://git.example.org/runbooks/")
    with serving(alerting) as viewer:
        status, page, _ = get(f"{viewer.url}/alerts")
        _, elsewhere, _ = get(f"{viewer.url}/nothing")
    assert status == 200
    assert "2 alerts fire." in page
    first = row(page, 'data-incident="cafe0001"')
    assert "✖ Firing" in first
    assert 'href="/service/cart?from=' in first
    assert 'href="/trace/0af7651916cd43dd8448eb211c80319c"' in first
    assert 'href="https://git.example.org/runbooks/service-silent.md"' in first
    assert "● Acknowledged</span> by Ida" in row(page, 'data-incident="cafe0002"')
    assert "✖ 2 firing" in row(page, 'data-rule="service-silent"')
    assert "2 firing</span>" in elsewhere


def test_rules_say_their_state_in_words() -> None:
    pending = [Pending((("signal", "traces"),), 70.0, time.time() - 60)]
    with serving(Alerting(lambda: states(pending=pending))) as viewer:
        _, page, _ = get(f"{viewer.url}/alerts")
    assert "Nothing fires." in page
    assert "● OK" in row(page, 'data-rule="service-silent"')
    assert "▲ 1 pending" in row(page, 'data-rule="pipeline-behind"')
    assert "▲ No answer" in row(page, 'data-rule="dead-letters"')
    assert "○ Not evaluated" in row(page, 'data-rule="cardinality"')
    waiting = row(page, 'data-pending="pipeline-behind"')
    assert "signal traces" in waiting
    assert ">3m<" in waiting
    assert re.search(r'<span id="alerts-firing"></span>', page)


def test_incidents_are_told_with_their_times_and_medians(tmp_path: Path) -> None:
    file = tmp_path / "incidents.sqlite"
    now_s = time.time()
    with IncidentFile(file, create=True) as records:
        records.save([
            incident("cafe0001"),
            incident(
                "beef0001", started_s=now_s - 7200, detected_s=now_s - 7080, acknowledged_s=now_s - 6900,
                acknowledged_by="Ida", restored_s=now_s - 3600, over_told=True, peak=math.inf,
            ),
            incident("dead0001", started_s=now_s - 864_000, detected_s=now_s - 864_000, restored_s=now_s - 860_000),
        ])  # fmt: skip
    with serving(Alerting(states, file)) as viewer:
        _, page, _ = get(f"{viewer.url}/alerts")
        _, longer, _ = get(f"{viewer.url}/alerts?since=30d")
    past = row(page, 'data-incident="beef0001"')
    assert "inf" not in past
    assert re.findall(r'data-figure="\w+">([^<]+)<', past) == ["2m", "3m", "1h"]
    assert 'data-figure="restore">open<' in row(page, 'data-incident="cafe0001"')
    assert 'data-figure="mtta">3m<' in page
    assert 'data-figure="mttr">1h<' in page
    assert "dead0001" not in page
    assert "dead0001" in longer


def test_where_nothing_is_evaluated_the_page_says_so() -> None:
    with serving(Alerting()) as viewer:
        status, page, _ = get(f"{viewer.url}/alerts?since=nonsense")
    assert status == 200
    assert "No rule is evaluated here." in page
    assert page.count("○ Not evaluated") == len(RULES)


def test_records_that_cannot_be_read_leave_the_rest_of_the_page(tmp_path: Path) -> None:
    file = tmp_path / "incidents.sqlite"
    file.write_bytes(b"nothing of the kind, and long enough for a page of it" * 99)
    with serving(Alerting(lambda: states([incident("cafe0001")]), file)) as viewer:
        status, page, _ = get(f"{viewer.url}/alerts")
    assert status == 200
    assert "Incidents cannot be read:" in page
    assert "cafe0001" in page


@pytest.mark.parametrize("runbooks_url", ["docs/runbooks", "javascript:alert(1)//"])
def test_names_from_telemetry_stay_text_and_only_web_addresses_are_links(runbooks_url: str) -> None:
    hostile = incident("cafe0001", HOSTILE, acknowledged_s=1.0, acknowledged_by=HOSTILE)
    with serving(Alerting(lambda: states([hostile]), None, runbooks_url)) as viewer:
        _, page, _ = get(f"{viewer.url}/alerts")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "javascript:" not in page
    assert 'href="docs/runbooks' not in page
