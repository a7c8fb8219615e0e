"""What a request must be to be acknowledged, rule by rule."""

from __future__ import annotations

import pytest

from ingest import validate_walk
from ingest.validate import Verdict, warm_up
from ingest.wire_schema import REQUESTS, SCHEMA
from schemas.errors import MalformedRequestError
from schemas.signals import Signal
from tests.otlp_requests import NOW_NS, WINDOW
from tests.otlp_validation import check, field, traces

SPAN_ID = bytes(range(8))
TRACE_ID = bytes(range(16))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    warm_up()


def metrics(*metric: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, one) for one in metric)))


logs = traces


def any_values(levels: int, wrap: int) -> bytes:
    """An AnyValue of so many levels: arrays (5) or kvlists (6) around a string."""
    value = field(1, b"x")
    for _ in range(levels - 1):
        value = field(wrap, field(1, value if wrap == 5 else field(2, value)))
    return value


@pytest.mark.parametrize("wrap", [5, 6])
def test_values_nest_32_levels(wrap: int) -> None:
    span = field(9, field(2, any_values(32, wrap)))
    assert check(Signal.TRACES, traces(span)).items == 1
    REQUESTS[Signal.TRACES].FromString(traces(span))
    with pytest.raises(MalformedRequestError, match="at most 32 levels"):
        check(Signal.TRACES, traces(field(9, field(2, any_values(33, wrap)))))


def test_a_log_body_counts_its_own_levels() -> None:
    assert check(Signal.LOGS, logs(field(5, any_values(32, 5)))).items == 1
    with pytest.raises(MalformedRequestError, match=r"AnyValue\.array_value|ArrayValue\.values"):
        check(Signal.LOGS, logs(field(5, any_values(33, 5))))


def test_messages_nest_100_deep_which_is_what_protobuf_reads() -> None:
    def exemplar(levels: int) -> bytes:
        return metrics(field(5, field(1, field(5, field(7, field(2, any_values(levels, 6)))))))

    assert check(Signal.METRICS, exemplar(31)).items == 1
    REQUESTS[Signal.METRICS].FromString(exemplar(31))
    with pytest.raises(MalformedRequestError, match="messages at most 100"):
        check(Signal.METRICS, exemplar(32))


def test_a_million_levels_are_refused_at_once() -> None:
    value = b"\x2a\x00"
    for _ in range(4000):
        value = field(5, field(1, value))
    with pytest.raises(MalformedRequestError, match="at most 32 levels"):
        check(Signal.TRACES, traces(field(9, field(2, value))))


@pytest.mark.parametrize(
    ("span", "position", "rule"),
    [
        (b"\x80", 6, "Span: a tag must be a varint"),
        (b"\x8a\x80\x80\x80\x80\x00\x00", 6, "Span: a tag must be a varint"),
        (b"\x8a\x80\x80\x80\x10\x00", 6, "Span: a tag must be a varint"),
        (b"\x00\x00", 6, "a field number must not be 0"),
        (b"\x05\x00\x00\x00\x00", 6, "a field number must not be 0"),
        (b"\x28\x01", 6, r"Span\.name \(wire type varint\): this field must not have this wire type"),
        (b"\x3a\x08" + bytes(8), 6, r"Span\.start_time_unix_nano \(wire type length-delimited\): this field must not"),
        (b"\xfb\x01\xfc\x01", 6, r"Span field 31 \(wire type start group\): groups are refused"),
        (b"\xfc\x01", 6, r"Span field 31 \(wire type end group\): groups are refused"),
        (b"\xfe\x01\x00", 6, "wire types 6 and 7 do not exist"),
        (b"\x30\xff", 6, r"Span\.kind \(wire type varint\): a varint must end"),
        (b"\x30" + b"\xff" * 9 + b"\x02", 6, "within 10 bytes and 64 bits"),
        (b"\x30" + b"\x80" * 10 + b"\x00", 6, "within 10 bytes and 64 bits"),
        (b"\x30\x01\x2a\x05abcd", 8, r"Span\.name \(wire type length-delimited\): a length must"),
        (b"\x2a\x84\x80\x80\x80\x80\x00abcd", 6, "a length must be a varint of at most 5 bytes"),
        (b"\x2a\xff\xff\xff\xff\x0f", 6, "must not pass the end of the enclosing message"),
        (b"\x39" + bytes(7), 6, r"Span\.start_time_unix_nano \(wire type fixed64\): a fixed-width value must end"),
        (b"\x85\x01" + bytes(3), 6, r"Span\.flags \(wire type fixed32\): a fixed-width value must end"),
        (b"\x7a\x00\x7a\x00", 8, r"Span\.status \(wire type length-delimited\): a submessage that is not repeated"),
        (b"\xa2\x06\x05abcd", 6, r"Span field 100 \(wire type length-delimited\): a length must"),
    ],
)
def test_a_broken_structure_is_refused_by_byte_field_and_rule(span: bytes, position: int, rule: str) -> None:
    with pytest.raises(MalformedRequestError, match=f"^traces request: byte {position}, .*{rule}"):
        check(Signal.TRACES, traces(span))


@pytest.mark.parametrize(
    "attribute",
    [
        b"\x0a\x01k\x12\x81\x0a\x7f" + b"a" * 127,
        b"\x0a\x01k\x12\x09\x21" + bytes(7),
        b"\x0a\x01k\x12\x0b\x18" + b"\xff" * 9 + b"\x02",
        b"\x0a\x01k\x12\x03\x0a\x02a",
        b"\x0a\x01k\x12\x03\x0a\x00a",
        b"\x0a\x01k\x12\x02\x20\x01",
        b"\x0a\x80\x12\x00",
        b"\x0a\x01k\x12",
    ],
)
def test_an_attribute_that_only_looks_plain_is_refused(attribute: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        check(Signal.TRACES, traces(field(9, attribute)))


@pytest.mark.parametrize(
    ("attribute", "rejected"),
    [
        (b"\x0a\x01k\x12\x03\x0a\x01a", 0),
        (b"\x0a\x01k\x12\x03\x0a\x01\xff", 1),
        (b"\x0a\x01\xff\x12\x02\x18\x01", 1),
        (b"\x0a\x01\xff\x12\x02\x10\x01", 1),
        (b"\x0a\x01\xff\x12\x09\x21" + bytes(8), 1),
        (b"\x0a\x01k\x12\x09\x21" + bytes(8), 0),
        (b"\x0a\x00\x12\x00", 0),
        (b"\x12\x03\x0a\x01\xff\x0a\x01k", 1),
        (b"\x0a\x80\x01" + b"k" * 127 + b"\xff" + b"\x12\x00", 1),
    ],
)
def test_text_of_an_attribute_is_checked_in_every_shape(attribute: bytes, rejected: int) -> None:
    assert check(Signal.TRACES, traces(field(9, attribute))).rejected == rejected


@pytest.mark.parametrize(
    "span",
    [
        b"\x8a\x80\x80\x80\x00\x10" + TRACE_ID + bytes(0),
        b"\x2a\x84\x80\x80\x80\x00abcd",
        b"\x30" + b"\xff" * 9 + b"\x01",
        b"\xa0\x06\x05\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4) + b"\xa2\x06\x02\xff\xfe",
        b"\x2a\x01a\x2a\x01b",
    ],
    ids=["long tag", "long length", "64-bit varint", "unknown fields of each wire type", "the last name wins"],
)
def test_what_protobuf_allows_and_encoders_seldom_write_is_accepted(span: bytes) -> None:
    verdict = check(Signal.TRACES, traces(span))
    assert (verdict.items, verdict.rejected) == (1, 0)
    REQUESTS[Signal.TRACES].FromString(verdict.body)


@pytest.mark.parametrize(
    ("point", "accepted"),
    [
        (b"\x32\x10" + bytes(16), True),
        (b"\x31" + bytes(8) + b"\x31" + bytes(8), True),
        (b"\x32\x0f" + bytes(15), False),
        (b"\x3a\x08" + bytes(8) + b"\x39" + bytes(8), True),
    ],
    ids=["packed counts", "unpacked counts", "packed counts of odd length", "bounds both ways"],
)
def test_repeated_numbers_may_be_packed_or_not(point: bytes, accepted: bool) -> None:
    body = metrics(field(9, field(1, point)))
    if accepted:
        assert check(Signal.METRICS, body).items == 1
    else:
        with pytest.raises(MalformedRequestError, match="multiple of 8"):
            check(Signal.METRICS, body)


@pytest.mark.parametrize(
    ("buckets", "accepted"),
    [(b"\x12\x03\x01\xac\x02", True), (b"\x10\x01\x10\x02", True), (b"\x12\x02\x01\xac", False)],
)
def test_bucket_counts_of_exponential_histograms_are_checked_varint_by_varint(buckets: bytes, accepted: bool) -> None:
    body = metrics(field(10, field(1, field(8, buckets))))
    if accepted:
        assert check(Signal.METRICS, body).items == 1
    else:
        with pytest.raises(MalformedRequestError, match=r"Buckets\.bucket_counts"):
            check(Signal.METRICS, body)


def test_a_metric_with_two_kinds_of_data_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match=r"Metric\.sum .*must occur at most once"):
        check(Signal.METRICS, metrics(field(5, b"") + field(7, b"")))


def test_data_points_of_all_five_kinds_are_counted() -> None:
    body = metrics(*(field(kind, field(1, b"") * 2) for kind in (5, 7, 9, 10, 11)))
    assert check(Signal.METRICS, body).items == 10


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        (
            field(1, TRACE_ID[:3]),
            "1 of 2 spans rejected: Span.trace_id must have 16 bytes or none, got 3 (0x000102) at byte {}",
        ),
        (
            field(4, SPAN_ID[7:]),
            "1 of 2 spans rejected: Span.parent_span_id must have 8 bytes or none, got 1 (0x07) at byte {}",
        ),
        (
            field(5, b"caf\xe9"),
            "1 of 2 spans rejected: Span.name must be UTF-8, got 0x636166e9 at byte {}",
        ),
        (
            field(9, field(2, field(1, b"\xff" * 30))),
            "1 of 2 spans rejected: AnyValue.string_value must be UTF-8, got 0x" + "ff" * 24 + "... at byte {}",
        ),
        (
            b"\x39" + (5).to_bytes(8, "little"),
            (
                "1 of 2 spans rejected: Span.start_time_unix_nano must be from -1000 s to +1000 s of now or 0, got 5 "
                "(-1760000000 s) at byte {}"
            ),
        ),
    ],
)
def test_the_reason_names_rule_value_and_count(span: bytes, reason: str) -> None:
    good = field(2, SPAN_ID)
    body = traces(good, span)
    verdict = check(Signal.TRACES, body)
    value = validate_walk.walk(body, SCHEMA.roots[Signal.TRACES], WINDOW["oldest_ns"], WINDOW["newest_ns"]).fault
    assert value is not None
    assert verdict == Verdict(1, 1, reason.format(value.position) + ", the first fault.", traces(good))


def test_a_fault_in_a_resource_rejects_all_items_of_that_resource_and_no_other() -> None:
    good = field(1, field(2, field(2, b"")))
    bad = field(1, field(2, field(2, b"") * 3) + field(1, field(1, field(1, b"\xff"))))
    verdict = check(Signal.TRACES, good + bad + good)
    assert (verdict.items, verdict.rejected, verdict.body) == (2, 3, good + good)


def test_a_fault_in_a_scope_rejects_its_items_even_those_already_rejected_once() -> None:
    bad_span = field(2, field(1, b"x"))
    scope = field(2, bad_span + field(2, b"") + bad_span + field(1, field(1, b"\xff")))
    other = field(2, bad_span + field(2, b""))
    verdict = check(Signal.TRACES, field(1, scope + other))
    assert (verdict.items, verdict.rejected, verdict.body) == (1, 4, field(1, field(2, field(2, b""))))


def test_a_metric_whose_points_are_all_rejected_disappears() -> None:
    body = metrics(
        field(1, b"a") + field(5, field(1, b"")), field(1, b"b") + field(5, field(1, field(5, field(4, b"x"))))
    )
    verdict = check(Signal.METRICS, body)
    assert (verdict.items, verdict.rejected) == (1, 1)
    assert verdict.body == metrics(field(1, b"a") + field(5, field(1, b"")))


def test_a_metric_name_at_fault_rejects_its_points() -> None:
    verdict = check(Signal.METRICS, metrics(field(1, b"\xff") + field(7, field(1, b"") * 4)))
    assert (verdict.items, verdict.rejected, verdict.body) == (0, 4, b"")


def test_a_fault_above_no_items_is_cut_out_too() -> None:
    verdict = check(Signal.TRACES, field(1, field(1, field(1, field(1, b"\xff")))))
    assert (verdict.items, verdict.rejected, verdict.body) == (0, 0, b"")
    assert "must be UTF-8" in verdict.reason


@pytest.mark.parametrize(
    ("time", "observed", "rejected"),
    [(0, 0, 0), (NOW_NS, 5, 0), (0, NOW_NS, 0), (0, 5, 1), (5, NOW_NS, 1), (2**64 - 1, NOW_NS, 1)],
)
def test_a_log_record_without_a_time_is_judged_by_its_observed_time(time: int, observed: int, rejected: int) -> None:
    record = b"\x59" + observed.to_bytes(8, "little") + b"\x09" + time.to_bytes(8, "little")
    verdict = check(Signal.LOGS, logs(record))
    assert (verdict.items, verdict.rejected) == (1 - rejected, rejected)


def test_an_empty_request_is_a_request_without_items() -> None:
    for signal in Signal:
        assert check(signal, b"") == Verdict(0, 0, "", b"")


@pytest.mark.parametrize(
    "text",
    [
        b"\x80", b"\xc0\xaf", b"\xc1\x81", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"abcdefg\xff", b"abcdefgh\xc3", b"\xc3abcdefg", b"\xe2",
    ],
)  # fmt: skip
def test_text_that_is_no_utf8_is_found_wherever_it_stands(text: bytes) -> None:
    for before in range(10):
        body = traces(field(5, b"a" * before + text))
        assert check(Signal.TRACES, body).rejected == 1
