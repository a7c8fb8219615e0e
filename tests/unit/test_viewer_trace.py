"""The waterfall: spans in their place, whatever the senders made of the tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dashboards.viewer.trace import BAR_UNITS, lay_out

TRACE = "ab" * 16


def span(span_id: str, parent: str = "", start_ns: int = 0, duration_ns: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "SpanId": span_id, "ParentSpanId": parent, "ServiceName": "cart",
        "SpanName": f"op {span_id}", "SpanKind": "Server",
        "StatusCode": "Unset", "StatusMessage": "", "StartNs": start_ns, "DurationNs": duration_ns, "ScopeName": "",
        "Attributes": {}, "Resource": {}, "EventTimesNs": [], "EventNames": [], "EventAttributes": [],
        "LinkTraceIds": [], "LinkSpanIds": [], **more,
    }  # fmt: skip


def log(span_id: str, at_ns: int) -> dict[str, Any]:
    return {"AtNs": at_ns, "SpanId": span_id, "ServiceName": "cart", "SeverityText": "", "SeverityNumber": 17,
            "Message": "b",
            "Attributes": {}}  # fmt: skip


def test_children_follow_their_parent_in_order_of_start() -> None:
    trace = lay_out(TRACE, [span("a"), span("c", "a", 10), span("b", "a", 20), span("d", "c", 30)], [])
    assert [(one.span_id, one.depth) for one in trace.spans] == [("a", 0), ("c", 1), ("d", 2), ("b", 1)]


def test_a_span_whose_parent_is_not_stored_stands_after_the_root_and_says_so() -> None:
    trace = lay_out(TRACE, [span("x", "gone", 0), span("a", "", 5)], [])
    assert [(one.span_id, one.parent_missing) for one in trace.spans] == [("a", False), ("x", True)]


def test_spans_in_a_cycle_are_shown_once() -> None:
    trace = lay_out(TRACE, [span("a", "b"), span("b", "a"), span("s", "s")], [])
    assert [one.span_id for one in trace.spans] == ["a", "b", "s"]


def test_a_span_sent_twice_is_shown_twice() -> None:
    assert len(lay_out(TRACE, [span("a"), span("a")], []).spans) == 2


def test_bars_are_placed_in_thousandths_of_the_trace() -> None:
    trace = lay_out(TRACE, [span("a", "", 1000, 1000), span("b", "a", 1500, 250)], [])
    assert (trace.spans[1].left, trace.spans[1].width) == (500.0, 250.0)
    assert trace.duration_ns == 1000


def test_spans_of_one_resource_share_it() -> None:
    pods = [{"k8s.pod.name": "a"}, {"k8s.pod.name": "b"}]
    trace = lay_out(TRACE, [span(str(n), Resource=pods[n % 2]) for n in range(4)], [])
    assert [one.resource for one in trace.spans] == [0, 1, 0, 1]
    assert trace.resources == [("cart", pods[0]), ("cart", pods[1])]


def test_services_of_a_trace_have_colours_of_their_own() -> None:
    trace = lay_out(TRACE, [span(str(n), ServiceName=f"service {n % 8}") for n in range(16)], [])
    assert [colour for _, _, colour in trace.services] == list(range(8))
    assert [spans for _, spans, _ in trace.services] == [2] * 8


def test_log_records_stand_with_their_span_and_errors_are_marked() -> None:
    trace = lay_out(TRACE, [span("a", start_ns=100)], [log("a", 150), log("", 160)])
    assert [(one.offset_ns, one.bad) for one in trace.spans[0].logs] == [(50, True)]
    assert len(trace.logs) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefg"), st.sampled_from("abcdefgz"), st.integers(0, 10**9), st.integers(0, 10**12)
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_shape_of_trace_keeps_every_span_once_and_every_bar_inside(shape: list[tuple[str, str, int, int]]) -> None:
    rows = [span(own, parent, start, duration) for own, parent, start, duration in shape]
    trace = lay_out(TRACE, rows, [])
    assert sorted(one[0] for one in shape) == sorted(one.span_id for one in trace.spans)
    assert all(one.left >= 0 and one.left + one.width <= BAR_UNITS + 0.2 for one in trace.spans)


def test_a_chain_of_fifty_thousand_spans_is_laid_out() -> None:
    rows = [span(str(n), str(n - 1) if n else "", n, 1) for n in range(50_000)]
    assert len(lay_out(TRACE, rows, []).spans) == 50_000
