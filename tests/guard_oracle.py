"""Redaction by plain Python, one value at a time, on the rows of decode_oracle.py."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from processors.guard.rules import RedactionRule

Row = dict[str, Any]
Pairs = list[tuple[str, str]]
_MAPS = {
    "ResourceAttributes": "resource",
    "ScopeAttributes": "scope",
    "SpanAttributes": "span",
    "LogAttributes": "log",
    "Attributes": "point",
}
_LISTS = {"Events.Attributes": "event", "Links.Attributes": "link", "Exemplars.FilteredAttributes": "exemplar"}
_TEXTS = {
    "Body": "body",
    "StatusMessage": "status",
    "SpanName": "name span.name",
    "EventName": "name event.name",
    "SeverityText": "severity_text",
    "TraceState": "trace_state",
    "ScopeName": "scope.name",
    "ScopeVersion": "scope.version",
    "ResourceSchemaUrl": "schema_url",
    "ScopeSchemaUrl": "schema_url",
    "MetricName": "metric.name",
    "MetricDescription": "metric.description",
    "MetricUnit": "metric.unit",
}
_LISTS_OF_TEXTS = {"Events.Name": "name event.name", "Links.TraceState": "trace_state"}


def hashed(text: str, key: bytes) -> str:
    return "hmac:" + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def redact(
    tables: Mapping[str, Sequence[Row]], rules: Sequence[RedactionRule], key: bytes
) -> tuple[dict[str, list[Row]], dict[str, list[bool]], Counter[str]]:
    """The rows after the rules, which of them a rule was about, and how many values each rule was about."""
    counted: Counter[str] = Counter()
    rows: dict[str, list[Row]] = {}
    touched: dict[str, list[bool]] = {}
    for name, table in tables.items():
        rows[name], touched[name] = [], []
        for row in table:
            new, about = _row(row, rules, key)
            rows[name].append(new)
            touched[name].append(bool(about))
            counted += about
    return rows, touched, counted


def _row(row: Row, rules: Sequence[RedactionRule], key: bytes) -> tuple[Row, Counter[str]]:
    row = dict(row)
    about: Counter[str] = Counter()
    for rule in rules:
        for column, place in _MAPS.items():
            if column in row:
                row[column] = _entries(row[column], place, rule, key, about)
        for column, place in _LISTS.items():
            if column in row:
                row[column] = [_entries(each, place, rule, key, about) for each in row[column]]
        for column, places in _TEXTS.items():
            if column in row and rule.places & {*places.split()}:
                row[column] = _value(row[column], rule, key, about, dropped=lambda: "")
        for column, places in _LISTS_OF_TEXTS.items():
            if column in row and rule.places & {*places.split()}:
                row[column] = [_value(text, rule, key, about, dropped=lambda: "") for text in row[column]]
    names = {"ServiceName": ["service.name"], "ServiceVersion": ["service.version"],
             "Environment": ["deployment.environment.name", "deployment.environment"]}  # fmt: skip
    for column, attributes in names.items():
        pairs = row["ResourceAttributes"]
        row[column] = next((value for name in attributes for key_, value in pairs if key_ == name), "")
    return row, about


def _entries(pairs: Pairs, place: str, rule: RedactionRule, key: bytes, about: Counter[str]) -> Pairs:
    if place in rule.places:
        pairs = _pairs(pairs, rule, key, about, of=1)
    if "key" in rule.places:
        pairs = _pairs(pairs, rule, key, about, of=0)
        pairs = sorted(pairs, key=lambda pair: pair[0].encode())
    return pairs


def _pairs(pairs: Pairs, rule: RedactionRule, key: bytes, about: Counter[str], *, of: int) -> Pairs:
    """`of` 0 is about the names of the entries, 1 about their values."""
    kept = []
    for pair in pairs:
        named = any(fnmatch.fnmatchcase(pair[0].lower(), glob.lower()) for glob in rule.attributes)
        if rule.attributes and not named:
            kept.append(pair)
        elif (new := _value(pair[of], rule, key, about, dropped=lambda: None)) is not None:
            kept.append((new, pair[1]) if of == 0 else (pair[0], new))
    return kept


def _value(
    value: str, rule: RedactionRule, key: bytes, about: Counter[str], *, dropped: Callable[[], str | None]
) -> Any:
    pattern = re.compile(rule.pattern, re.ASCII) if rule.pattern else None
    readings = [getattr(value, "plain", value), str(value)]
    seen = next((reading for reading in readings if not pattern or pattern.search(reading)), None)
    if seen is None:
        return value
    value = seen
    about[rule.name] += 1
    if rule.action == "drop":
        return dropped()
    if rule.action == "mask":
        return pattern.sub("****", value) if pattern else "****"
    return pattern.sub(lambda found: hashed(found[0], key), value) if pattern else hashed(value, key)
