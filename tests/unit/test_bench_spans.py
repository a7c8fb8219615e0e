"""The dataset of the benchmarks is what docs/benchmarks.md says: figures of different days compare only then."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench import spans

_START_NS = 1_760_000_000_000_000_000


def _spans(bodies: list[bytes]) -> list[Span]:
    return [
        span
        for body in bodies
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def test_a_span_takes_363_bytes_and_no_span_is_there_twice(tmp_path: Path) -> None:
    dataset = spans.make(tmp_path, 20, seed=1, first_start_ns=_START_NS, warm_up_requests=5)
    made = _spans([*spans.read(dataset.path), *spans.read(dataset.warm_up)])
    assert round(dataset.bytes_a_span) == 363
    assert len(made) == dataset.spans + dataset.warm_up_spans == 25 * 512
    assert len({span.span_id for span in made}) == len(made)


def test_spans_have_eight_attributes_twelve_share_a_trace_and_one_in_twenty_fails(tmp_path: Path) -> None:
    dataset = spans.make(tmp_path, 20, seed=1, first_start_ns=_START_NS, warm_up_requests=1)
    made = _spans(list(spans.read(dataset.path)))
    failed = [span for span in made if span.status.code]
    assert {len(span.attributes) for span in made} == {8}
    assert sum(span.trace_id == made[0].trace_id for span in made) == 12
    assert 0.04 < len(failed) / len(made) < 0.06
    assert [len(span.events) for span in failed] == [1] * len(failed)


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first = spans.make(tmp_path / "a", 2, seed=3, first_start_ns=_START_NS, warm_up_requests=1)
    second = spans.make(tmp_path / "b", 2, seed=3, first_start_ns=_START_NS, warm_up_requests=1)
    assert first.path.read_bytes() == second.path.read_bytes()
