"""OpenSLO files: what they mean, and every fault with its file, line, field and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.grafana.macros import Range, expand
from dashboards.slo.burn_rates import BURN_RATES
from dashboards.slo.files import read
from dashboards.slo.objective import Objective, query
from dashboards.slo.propose import Observed
from dashboards.slo.propose import files as proposed
from dashboards.slo.rules import burn_rules
from schemas.errors import ConfigurationError

DAY_S = 86_400
FILE = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: cart-availability
spec:
  service: cart
  indicator:
    metadata: {name: cart-availability}
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource: {type: sluiceway, spec: {measure: failed}}
        total:
          metricSource: {type: sluiceway, spec: {measure: calls}}
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - displayName: Cart answers
      target: 0.999
"""


def read_text(folder: Path, text: str) -> list[Objective]:
    (folder / "cart.yaml").write_text(text)
    return read(folder)


def test_the_rates_of_a_30_day_period_are_the_published_ones() -> None:
    found = [(pair.name, pair.severity, round(pair.factor(30 * DAY_S), 9)) for pair in BURN_RATES]
    assert found == [
        ("1h/5m", "page", 14.4),
        ("6h/30m", "page", 6),
        ("1d/2h", "ticket", 3),
        ("3d/6h", "ticket", 1),
    ]


def test_a_file_is_an_objective(tmp_path: Path) -> None:
    [found] = read_text(tmp_path, FILE)
    assert (found.name, found.title, found.service) == ("cart-availability", "Cart answers", "cart")
    assert (found.target, found.period_s, found.threshold_ns) == (0.999, 30 * DAY_S, None)
    assert found.kinds == ("Server", "Consumer")
    pages = {name: share for name, _, _, share in found.pairs("page")}
    assert pages == {"1h/5m": 0.0144, "6h/30m": 0.006, "6h absolute": 0.5}


def test_the_starter_files_are_valid() -> None:
    root = Path(__file__).resolve().parents[2]
    assert [each.name for each in read(root / "slos")] == [
        "checkout-availability",
        "checkout-latency",
        "frontend-availability",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("target: 0.999", "target: 1.0", "22: spec.objectives.0.target: Input should be less than 1, received 1.0"),
        ("target: 0.999", "goal: 0.999", "22: spec.objectives.0.goal: Extra inputs are not permitted, received 0.999"),
        ("30d", "1M", "17: spec.timeWindow.0.duration: must be 7d to 90d, in days or weeks (4w), not '1M'"),
        (
            "isRolling: true",
            "isRolling: false",
            "18: spec.timeWindow.0.isRolling: Input should be True, received False",
        ),
        ("Occurrences", "Timeslices", "19: spec.budgetingMethod: Input should be 'Occurrences', received 'Timeslices'"),
        ("kind: SLO", "kind: Slo", "2: kind: must be SLO or SLI, received 'Slo'"),
        ("measure: failed", "measure: calls", "10: spec.indicator.spec.ratioMetric: bad must measure failed"),
        (
            "{measure: failed}",
            "{measure: failed, operation: x}",
            "10: spec.indicator.spec.ratioMetric: bad and total must be of the same kinds",
        ),
        (
            "name: cart-availability\nspec",
            "name: Cart!\nspec",
            "4: metadata.name: String should match pattern",
        ),
        (
            "      target: 0.999",
            "      target: 0.9",
            "22: spec.objectives.0.target: the burn rate 14.4 of 1h/5m can never fire, as that would be 144% bad",
        ),
        ("target: 0.999", "target: 0.999\n      value: 3", "21: spec.objectives.0: op and value belong to"),
        (
            "metadata:\n  name: cart-availability\n",
            "metadata:\n  name: cart-availability\n  annotations: {sluiceway/min-failures: none}\n",
            "5: metadata.annotations: sluiceway/min-failures must be a whole number from 1 on, received 'none'",
        ),
        ("  service: cart", "  service: [", "8: must be YAML"),
        ("  service: cart", "  service: &cart cart\n  description: *cart", "6: must not be used by an alias"),
    ],
)
def test_a_fault_names_file_line_field_rule_and_value(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigurationError) as refused:
        read_text(tmp_path, FILE.replace(old, new, 1))
    assert f"{tmp_path / 'cart.yaml'}:{fault}" in str(refused.value)


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "pay.yml").write_text(FILE.replace("0.999", "7").replace("cart-a", "pay-a"))
    with pytest.raises(ConfigurationError) as refused:
        read_text(tmp_path, FILE.replace("30d", "1d"))
    assert len(str(refused.value).splitlines()) == 2


def test_pairs_that_cannot_fire_can_be_left_out(tmp_path: Path) -> None:
    some = "  annotations: {sluiceway/burn-rates: '1d/2h, 3d/6h'}\nspec:"
    [found] = read_text(tmp_path, FILE.replace("0.999", "0.9").replace("spec:", some, 1))
    assert [pair.name for pair in found.burn_rates] == ["1d/2h", "3d/6h"]


def test_a_name_is_used_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cart.yaml:27: metadata.name: 'cart-availability' is used twice"):
        read_text(tmp_path, f"{FILE}---\n{FILE}")


def test_a_threshold_moves_to_the_nearest_bound_of_the_buckets() -> None:
    of = Objective("a", "A", "cart", 0.99, 30 * DAY_S, threshold_ns=1_000_000_000)
    assert of.measured_threshold_ns == pytest.approx(1e9, rel=0.045)
    assert 2 ** ((of.fast_below - 1) / 8) < 1e9 < 2 ** ((of.fast_below + 1) / 8)


def test_a_services_name_is_neither_sql_nor_a_macro() -> None:
    hostile = "a'b\\' OR 1=1 -- $__timeFilter(x) ${service} [[service]]"
    sql = expand(query("burn", [Objective("a", "A", hostile, 0.99, 30 * DAY_S)]), Range(0, 3600), in_alert=True)
    assert "'a\\'b\\\\\\' OR 1=1 -- \\x24__timeFilter(x) \\x24{service} [\\x5bservice]]'" in sql


def test_there_is_a_rule_a_severity_and_none_without_objectives() -> None:
    assert burn_rules([]) == []
    rules = burn_rules([Objective("a", "A", "cart", 0.99, 30 * DAY_S)])
    assert [(rule.name, rule.severity) for rule in rules] == [("slo-burn-page", "page"), ("slo-burn-ticket", "ticket")]


def test_what_is_proposed_was_held_and_is_valid(tmp_path: Path) -> None:
    for name, text in proposed(Observed("Cart Service", calls=100_000, errors=40, p99_ns=4.1e7)).items():
        (tmp_path / name).write_text(text)
    availability, latency = read(tmp_path)
    assert (availability.service, availability.name) == ("Cart Service", "cart-service-availability")
    # 0.04 % failed; half a budget of 0.1 % is 0.05 %.
    assert availability.target == 0.999
    assert (latency.threshold_ns, latency.target) == (100_000_000, 0.99)
