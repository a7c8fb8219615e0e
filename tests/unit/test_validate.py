"""What a request must be to be acknowledged, rule by rule and against the protobuf library on random requests."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import validate_walk
from ingest.validate import Verdict, is_compiled, validate, warm_up
from ingest.validate_kernel import compiled_walk
from ingest.wire_schema import REQUESTS, SCHEMA
from schemas.errors import MalformedRequestError
from schemas.signals import Signal
from tests.otlp_requests import NOW_NS, WINDOW, encode, items, mutate, prune, request

SIGNALS = st.sampled_from(list(Signal))
# Seeds, not `st.randoms()`: a request takes thousands of draws, which Hypothesis would track one by one.
RANDOM = st.integers(0, 2**32).map(random.Random)
SPAN_ID = bytes(range(8))
TRACE_ID = bytes(range(16))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    warm_up()


def field(number: int, value: bytes | int) -> bytes:
    """A length-delimited field from bytes, a varint field from an int."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def traces(*spans: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, span) for span in spans)))


def metrics(*metric: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, one) for one in metric)))


logs = traces


def both(signal: Signal, body: bytes) -> validate_walk.Scan | validate_walk.Broken:
    """What the compiled and the Python validator find, which must be the same."""
    found: list[Any] = []
    for walk in (compiled_walk, validate_walk.walk):
        try:
            found.append(walk(body, SCHEMA.roots[signal], WINDOW["oldest_ns"], WINDOW["newest_ns"]))
        except validate_walk.BrokenError as error:
            found.append(error.broken)
    assert found[0] == found[1]
    return found[0]  # type: ignore[no-any-return]


def check(signal: Signal, body: bytes) -> Verdict:
    both(signal, body)
    return validate(signal, body, **WINDOW)


def test_the_compiled_validator_is_in_use_after_warming_up() -> None:
    assert is_compiled()


@given(SIGNALS, RANDOM)
@settings(max_examples=200, deadline=None)
def test_every_request_the_protobuf_library_writes_is_accepted_as_it_is(signal: Signal, rng: random.Random) -> None:
    message = request(rng, signal)
    body = encode(message)
    verdict = check(signal, body)
    assert verdict == Verdict(len(list(items(message))), 0, "", body)
    assert verdict.body is body


@given(SIGNALS, RANDOM, st.sampled_from([0.002, 0.01, 0.05, 0.3]))
@settings(max_examples=400, deadline=None)
def test_items_with_faults_are_cut_out_and_all_others_stay_as_they_were(
    signal: Signal, rng: random.Random, faults: float
) -> None:
    message = request(rng, signal, faults=faults, repeats=4)
    body = encode(message)
    received = len(list(items(message)))
    verdict = check(signal, body)
    prune(message)
    assert REQUESTS[signal].FromString(verdict.body) == message
    assert (verdict.items, verdict.rejected) == (len(list(items(message))), received - len(list(items(message))))
    assert check(signal, verdict.body) == Verdict(verdict.items, 0, "", verdict.body)


@given(SIGNALS, RANDOM)
@settings(max_examples=1500, deadline=None)
def test_mutated_requests_get_the_same_answer_compiled_and_not_and_what_is_accepted_can_be_read(
    signal: Signal, rng: random.Random
) -> None:
    body = mutate(rng, encode(request(rng, signal, faults=0.01, repeats=2)))
    try:
        verdict = check(signal, body)
    except MalformedRequestError:
        return
    assert len(list(items(REQUESTS[signal].FromString(verdict.body)))) == verdict.items


@given(SIGNALS, RANDOM)
@settings(max_examples=500, deadline=None)
def test_what_the_protobuf_library_can_read_it_writes_so_that_we_accept_it(signal: Signal, rng: random.Random) -> None:
    message = REQUESTS[signal]()
    try:
        message.ParseFromString(mutate(rng, encode(request(rng, signal))))
    except Exception:  # noqa: BLE001  DecodeError has no public name in all implementations of protobuf.
        return
    message.DiscardUnknownFields()
    body = message.SerializeToString()
    verdict = check(signal, body)
    assert verdict.items + verdict.rejected == len(list(items(message)))


@given(SIGNALS, st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_random_bytes_get_an_answer(signal: Signal, body: bytes) -> None:
    try:
        verdict = check(signal, body)
    except MalformedRequestError:
        return
    REQUESTS[signal].FromString(verdict.body)


@given(SIGNALS, RANDOM)
@settings(max_examples=100, deadline=None)
def test_a_request_cut_at_any_byte_is_refused_or_ends_between_two_resources(signal: Signal, rng: random.Random) -> None:
    body = encode(request(rng, signal, repeats=2))
    for size in rng.sample(range(len(body)), min(len(body), 40)):
        try:
            check(signal, body[:size])
        except MalformedRequestError:
            continue
        REQUESTS[signal].FromString(body[:size])


@given(SIGNALS, st.lists(RANDOM, max_size=3))
@settings(max_examples=50, deadline=None)
def test_concatenated_requests_are_one_request(signal: Signal, rngs: list[random.Random]) -> None:
    messages = [request(rng, signal) for rng in rngs]
    verdict = check(signal, b"".join(map(encode, messages)))
    assert (verdict.items, verdict.rejected) == (sum(len(list(items(message))) for message in messages), 0)


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
            "1 of 2 spans rejected: Span.start_time_unix_nano must be from -1000 s to +1000 s of now or 0,"
            " got 5 (-1760000000 s) at byte {}",
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


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_all_unicode_text_is_accepted(text: str) -> None:
    assert check(Signal.TRACES, traces(field(5, text.encode()))).rejected == 0


@given(st.binary(max_size=24))
@settings(max_examples=400, deadline=None)
def test_text_is_utf8_exactly_when_python_says_so(text: bytes) -> None:
    try:
        text.decode()
        rejected = 0
    except UnicodeDecodeError:
        rejected = 1
    assert check(Signal.TRACES, traces(field(5, text))).rejected == rejected
