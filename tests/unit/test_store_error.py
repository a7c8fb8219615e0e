"""What the store refuses, in our words: no address, no version, no class, whatever is wrapped around its reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import store_error
from schemas.store_error import refusal, silence, without_origin

# As clickhouse-connect 1.x and ClickHouse 26.9 and 24.8 write them.
_BEFORE = (
    "Received ClickHouse exception, code: {code}, server response: ",
    "HTTPDriver for http://store.internal:8123 received ClickHouse error code {code}\n ",
    "store: ",
    "",
)
_CLASSES = (
    "DB::Exception",
    "DB::NetException",
    "DB::Exception: Received from 10.1.2.3:9000. DB::Exception",
    "Poco::Exception",
)
_STACK = "Stack trace:\n\n0. DB::Exception::Exception(DB::Exception::MessageMasked&&, int, bool) @ 0x000000000d4b6f1b\n"
_AFTER = (
    " (version 26.9.2.1)",
    " (version 24.8.14.39 (official build))",
    " (version 26.9.2.1) (for url http://127.0.0.1:20822)",
    " (for url https://ch-0.ch.example.org:8443)",
    f" (version 26.9.2.1)\n{_STACK}",
    "",
)
_DETAILS = (
    "Table otel.nope does not exist",
    "Unknown expression identifier `nope`. In scope SELECT nope FROM otel_traces",
    "Timeout exceeded: elapsed 1001.161 ms, maximum: 1000.000 ms",
    "default: Not enough privileges. To execute this query, it's necessary to have the grant DROP TABLE ON otel.a",
    "Cannot read from 10.0.0.7:9000, [fe80::1]:9440, ::1, localhost:9000 or http://a.b:8123/?x=1",
    "While executing std::vector<int>: DB::MergeTreeReader: bad",
)
_ORIGIN = re.compile(
    r"Code:|Exception|::|\bversion \d|https?:|\d+\.\d+\.\d+\.\d+|(?<!\d\d):\d{4}|fe80|localhost:|Stack trace"
    r"|0x0|internal|example"
)


@pytest.mark.parametrize("before", _BEFORE)
@pytest.mark.parametrize("of_class", _CLASSES)
@pytest.mark.parametrize("after", _AFTER)
@pytest.mark.parametrize("detail", _DETAILS)
def test_a_refusal_keeps_its_reason_and_its_name_alone(before: str, of_class: str, after: str, detail: str) -> None:
    text = f"{before.format(code=60)}Code: 60. {of_class}: {detail}. (UNKNOWN_TABLE){after}"

    said = refusal(text)

    assert said
    assert said.startswith("a name in the statement is not known (UNKNOWN_TABLE): ")
    assert said.endswith("; look it up with SHOW TABLES or DESCRIBE TABLE")
    assert _ORIGIN.search(said) is None, said
    assert detail.split(maxsplit=1)[0] in said
    assert "\n" not in said


def test_every_reason_says_what_to_do() -> None:
    for name, (reason, advice) in store_error._REASONS.items():
        said = refusal(f"Code: 1. DB::Exception: It is so. ({name}) (version 26.9.2.1)")
        assert said == f"{reason} ({name}): It is so; {advice}"


def test_a_code_that_we_do_not_know_keeps_its_name_and_one_without_a_name_its_number() -> None:
    assert refusal("Code: 9999. DB::Exception: New. (A_LATER_ONE)") == "the store refuses it (A_LATER_ONE): New"
    assert refusal("Code: 9999. DB::Exception: New.") == "the store refuses it (code 9999): New"
    assert refusal("nothing of the kind") is None


@given(text=st.text(max_size=2000), size=st.integers(1, 50))
def test_any_text_is_told_on_one_short_line_that_does_not_act(text: str, size: int) -> None:
    said = refusal(f"Code: 1. DB::Exception: {text * size}")

    assert said is not None
    assert len(said) < 1000
    assert said.isprintable() or all(each.isprintable() or not each.isascii() for each in said)
    assert "\n" not in without_origin(text)


@pytest.mark.parametrize(("text", "said"), [
    ("HTTPConnectionPool(host='127.0.0.1', port=1): ... [Errno 111] Connection refused", "nothing listens there"),
    ("HTTPSConnectionPool(host='ch', port=8443): CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
    ("TimeoutError: timed out", "no answer came in time"),
    ("NameResolutionError: [Errno -2] Name or service not known", "its name is not known"),
    ("ConnectionResetError: Connection reset by peer", "it ended the connection"),
    ("something else", "the connection failed"),
])  # fmt: skip
def test_silence_is_told_by_its_cause(text: str, said: str) -> None:
    assert silence(text) == said
