"""Validation of random, mutated and broken requests: compiled, in Python and against the protobuf library."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.validate import Verdict, is_compiled, warm_up
from ingest.wire_schema import REQUESTS
from schemas.errors import MalformedRequestError
from schemas.signals import Signal
from tests.otlp_requests import encode, items, mutate, prune, request
from tests.otlp_validation import check, field, traces

SIGNALS = st.sampled_from(list(Signal))
# Seeds, not `st.randoms()`: a request takes thousands of draws, which Hypothesis would track one by one.
RANDOM = st.integers(0, 2**32).map(random.Random)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    warm_up()


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
