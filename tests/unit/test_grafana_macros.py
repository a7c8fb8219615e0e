"""The macros of Grafana's ClickHouse plugin, as its own sources describe them."""

from __future__ import annotations

import pytest

from dashboards.grafana.macros import MacroError, Range, expand

OVER = Range(1_700_000_000, 1_700_003_600, 30, {"service": "cart", "none": "", "all": ["$__all"], "two": ["a", "b'c"]})


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__timeFilter(Time)", "Time >= toDateTime(1700000000) AND Time <= toDateTime(1700003600)"),
        ("$__timeFilter( f(t) )", "f(t) >= toDateTime(1700000000) AND f(t) <= toDateTime(1700003600)"),
        ("$__fromTime, $__toTime", "toDateTime(1700000000), toDateTime(1700003600)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1700000000000)"),
        ("$__timeInterval(t)", "toStartOfInterval(toDateTime(t), INTERVAL 30 second)"),
        ("$__interval_s", "30"),
        ("a = ${service:singlequote} $service [[service]]", "a = 'cart' cart cart"),
        ("IN (${two:singlequote})", "IN ('a','b\\'c')"),
        # As the plugin joins several values where no form is named.
        ("IN ($two)", "IN ('a','b'c')"),
        ("$__conditionalAll(a IN (${service:singlequote}), $service)", "a IN ('cart')"),
        ("$__conditionalAll(a IN (${none:singlequote}), $none)", "1=1"),
        ("$__conditionalAll(f(a, b) = 1, $all)", "1=1"),
        ("x $__conditionalAll(f(a, b) = 1, $two) y", "x f(a, b) = 1 y"),
        ("match('$', a)", "match('$', a)"),
    ],
)
def test_a_macro_becomes_what_the_plugin_makes_of_it(sql: str, expanded: str) -> None:
    assert expand(sql, OVER) == expanded


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("$__nothing(a)", r"no macro \$__nothing"),
        ("$missing", "no variable 'missing'"),
        ("$__timeFilter(a", "not closed"),
        ("$__timeFilter()", "takes one column"),
        ("$__conditionalAll(a, b)", r"a plain \$variable"),
        ("${service:json}", "no such form"),
    ],
)
def test_what_grafana_would_not_expand_is_refused(sql: str, said: str) -> None:
    with pytest.raises(MacroError, match=said):
        expand(sql, OVER)


@pytest.mark.parametrize("sql", ["$service", "${service:singlequote}", "$__conditionalAll(1, $service)", "$__from"])
def test_what_only_a_browser_expands_is_refused_in_an_alert(sql: str) -> None:
    with pytest.raises(MacroError, match="alert"):
        expand(sql, OVER, in_alert=True)
    assert expand("$__timeFilter(t)", OVER, in_alert=True)
