"""What the store says went wrong, in our words: why, what its check found, what to do.

ClickHouse's text carries the address and the version of a server, names of C++ classes and at times a stack trace. None
of them helps who asked, and each helps who should not know. Its code's name and the reason stay.
"""

from __future__ import annotations

import re

from schemas.shown import cut, shown

_ANSWER = re.compile(r"Code: (\d+)\.\s*(.*)", re.DOTALL)
_NAME = re.compile(r"\s*\(([A-Z][A-Z0-9_]+)\)\s*(?:\(|$)")
# What follows the message: the client's own note of where it asked, the server's version, a stack trace.
_TAIL = re.compile(
    r"\s*\((?:official build|version [\d.]+|for url [^)]*|query_id[^)]*)[^)]*\)|\s*Stack trace:.*", re.DOTALL
)
_CLASS = re.compile(r"\b(?:DB|Poco|std|boost|re2|arrow|google|CH)::(?:\w+::)*\w*(?:<[^<>]*>)?:?\s?")
_EXCEPTION = re.compile(r"\b(?:\w+::)*\w*Exception:\s")
_ADDRESS = re.compile(
    r"\bhttps?://[^\s()'\"]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-fA-F:.]+\](?::\d+)?|::1\b"
    r"|\b(?:[a-zA-Z][\w-]*\.)*[a-zA-Z][\w-]*:\d{2,5}\b(?!:)|\bhost='[^']*', port=\d+"
)
_VERSION = re.compile(r"\b\d{2}\.\d{1,2}(?:\.\d+){2,3}\b")
_APPENDED = re.compile(r"\s*\bFORMAT (?:Native|JSON\w*|CSVWithNames)\b")
_LONGEST = 300

_LOGIN = ("the user or its password is refused", "correct the user and the file of its password")
_RIGHT = ("this user may not do that", "who reads may SELECT from our tables and ask nothing else of the store")
_UNKNOWN = ("a name in the statement is not known", "look it up with SHOW TABLES or DESCRIBE TABLE")
_WRITTEN = ("the statement is not well formed", "correct it")
_TIME = ("the answer takes longer than its bound", "ask for a shorter time or for fewer columns")
_MUCH = ("the answer needs more than its bound", "ask for a shorter time or for fewer columns")
_BUSY = ("the store has too much to do", "ask again in a moment")
_DISK = ("the store cannot write", "look at its disk; what was acknowledged waits in the log")
_VALUE = ("a value is not of its type", "correct it")
_NAMES: dict[tuple[str, str], str] = {
    _LOGIN: "AUTHENTICATION_FAILED UNKNOWN_USER WRONG_PASSWORD REQUIRED_PASSWORD IP_ADDRESS_NOT_ALLOWED",
    _RIGHT: "ACCESS_DENIED READONLY QUERY_IS_PROHIBITED FUNCTION_NOT_ALLOWED",
    _UNKNOWN: "UNKNOWN_TABLE UNKNOWN_DATABASE UNKNOWN_IDENTIFIER UNKNOWN_FUNCTION UNKNOWN_TYPE UNKNOWN_SETTING "
    "UNKNOWN_FORMAT NO_SUCH_COLUMN_IN_TABLE NOT_FOUND_COLUMN_IN_BLOCK AMBIGUOUS_IDENTIFIER",
    _WRITTEN: "SYNTAX_ERROR NOT_AN_AGGREGATE ILLEGAL_AGGREGATION NUMBER_OF_ARGUMENTS_DOESNT_MATCH BAD_ARGUMENTS "
    "NOT_IMPLEMENTED",
    _TIME: "TIMEOUT_EXCEEDED TOO_SLOW SOCKET_TIMEOUT",
    _MUCH: "MEMORY_LIMIT_EXCEEDED TOO_MANY_ROWS TOO_MANY_BYTES TOO_MANY_ROWS_OR_BYTES SET_SIZE_LIMIT_EXCEEDED "
    "QUOTA_EXCEEDED TOO_DEEP_RECURSION QUERY_IS_TOO_LARGE",
    _BUSY: "TOO_MANY_SIMULTANEOUS_QUERIES TOO_MANY_PARTS QUERY_WAS_CANCELLED",
    _DISK: "NOT_ENOUGH_SPACE TABLE_IS_READ_ONLY CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    _VALUE: "CANNOT_PARSE_TEXT CANNOT_PARSE_NUMBER CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME TYPE_MISMATCH "
    "ILLEGAL_TYPE_OF_ARGUMENT CANNOT_CONVERT_TYPE ARGUMENT_OUT_OF_BOUND",
}
_REASONS = {name: reason for reason, names in _NAMES.items() for name in names.split()}


def refusal(text: str) -> str | None:
    """Our sentence for an error that ClickHouse answered with; None when `text` is none.

    Args:
        text: the driver's or the server's whole error.
    """
    found = _ANSWER.search(text)
    if found is None:
        return None
    code, rest = found[1], found[2]
    names = _NAME.findall(rest)
    name = names[-1] if names else f"code {code}"
    detail = without_origin(_TAIL.sub("", rest).removesuffix(f"({name})").replace(f"({name})", ""))
    reason, advice = _REASONS.get(name, ("the store refuses it", ""))
    return f"{reason} ({name}): {detail}{f'; {advice}' if advice else ''}"


def silence(text: str) -> str:
    """Why nothing answered, in a few words."""
    lowered = text.lower()
    for sign, reason in (
        ("refused", "nothing listens there"),
        ("certificate", "its certificate is not trusted"),
        ("ssl", "it does not speak TLS as we do"),
        ("not known", "its name is not known"),
        ("resolve", "its name is not known"),
        ("timed out", "no answer came in time"),
        ("timeout", "no answer came in time"),
        ("unreachable", "there is no way to it"),
        ("no route", "there is no way to it"),
        ("reset", "it ended the connection"),
        ("aborted", "it ended the connection"),
    ):
        if sign in lowered:
            return reason
    return "the connection failed"


def without_origin(text: str) -> str:
    """Text on one line without addresses, versions, classes and stack traces, of its beginning."""
    text = _TAIL.sub("", text[: 20 * _LONGEST])
    for pattern, by in (
        (_EXCEPTION, ""), (_CLASS, ""), (_APPENDED, ""), (_ADDRESS, "(address)"), (_VERSION, "(version)"),
    ):  # fmt: skip
        text = pattern.sub(by, text)
    return cut(shown(" ".join(text.split())).rstrip(" .;:"), _LONGEST)
