"""What a rule names is nowhere in the store: every column of every table, of rollups, series and service map too."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path

from ingest.wire_schema import REQUESTS
from processors.decode.batch import ENVIRONMENT, SERVICE, VERSION
from processors.guard.budgets import Budgets
from processors.guard.guard import Policy
from processors.guard.rules import ATTRIBUTES, KEY, TEXTS, RedactionRule
from processors.service_map.settle import Settler
from processors.settings import ServiceMapSettings
from schemas.signals import Signal
from tests.guards_document import documented_others
from tests.line_under_test import Line
from tests.otlp_text_fields import MARKER_PATTERN, TextField, found, text_fields
from tests.rows_in_store import KEPT, Database

AT_ONCE = ServiceMapSettings.model_construct(**{**ServiceMapSettings().model_dump(), "interval_s": 0.0})
MASK = RedactionRule(name="marker", action="mask", pattern=MARKER_PATTERN, where=(*ATTRIBUTES, KEY, *TEXTS))


def names_the_store_reads() -> list[str]:
    """Attributes whose values tables of their own are made of."""
    files = [file for file in resources.files("processors.service_map").iterdir() if file.name.endswith(".sql")]
    names = {name for file in files for name in re.findall(r"keys, '([^']+)'", file.read_text())}
    assert "peer.service" in names
    return sorted(names | {name.decode() for name in (SERVICE, VERSION, *ENVIRONMENT)})


def fields_of(signal: Signal) -> list[TextField]:
    fields = list(text_fields(REQUESTS[signal].DESCRIPTOR))
    values = [
        field
        for field in fields
        if field.steps[-3:-1] in (["Resource.attributes", "KeyValue.value"], ["Span.attributes", "KeyValue.value"])
    ]
    return fields + [replace(field, key=name) for name in names_the_store_reads() for field in values]


def every_column(tables: Database) -> dict[str, bytes]:
    """All that each table holds, states of aggregates too."""
    of_table: dict[str, list[str]] = {}
    names = tables.ask(
        "SELECT table, name FROM system.columns WHERE database = {name:String} AND table IN"
        " (SELECT name FROM system.tables WHERE database = {name:String} AND engine LIKE '%MergeTree%')",
        name=tables.name,
    )
    for row in names:
        of_table.setdefault(row["table"], []).append(f"`{row['name']}`")
    return {
        table: tables.answer(f"SELECT {', '.join(columns)} FROM {{db}}.{table}", "Native")
        for table, columns in of_table.items()
    }


def stored(
    folder: Path, tables: Database, rules: tuple[RedactionRule, ...], budgets: Budgets
) -> tuple[list[tuple[int, TextField]], dict[str, bytes]]:
    """All text fields by number, and what each table holds after a request for each came all the way."""
    numbered: list[tuple[int, TextField]] = []
    for signal in Signal:
        fields = list(enumerate(fields_of(signal), len(numbered)))
        numbered += fields
        line = Line(folder, tables, signal)
        # Series are kept for two days after they were received.
        line.received_at_ns = time.time_ns()
        line.policy = Policy(rules, b"a key of sixteen bytes", budgets)
        line.append(*(field.request(number).SerializeToString() for number, field in fields))
        line.consume()
        assert line.letters() == []
        line.close()
    client = tables.connect()
    client.database = tables.name
    assert Settler(client, AT_ONCE, KEPT.traces_days, whole_every_s=0.0).settle() > 0
    client.close()
    return numbered, every_column(tables)


def listed(field: TextField) -> bool | None:
    """Whether the documents say that no rule reaches it, and if so whether it is stored."""
    others = documented_others()
    return next((others[step] for step in field.steps if step in others), None)


ROOM = Budgets(10_000, 100_000, 100_000)
SPENT = Budgets(1, 2, 2)


def test_no_table_holds_what_a_rule_names(tmp_path: Path, tables: Database) -> None:
    numbered, held = stored(tmp_path, tables, (MASK,), ROOM)
    assert empty(tables, held) <= {"series_overflows"}
    left = found(numbered, held.values())
    assert fields(numbered, left) == fields(numbered, {number for number, field in numbered if listed(field)})


def test_no_table_of_folded_series_holds_what_a_rule_names(tmp_path: Path, tables: Database) -> None:
    numbered, held = stored(tmp_path, tables, (MASK,), SPENT)
    assert "series_overflows" not in empty(tables, held)
    assert all(listed(dict(numbered)[number]) for number in found(numbered, held.values()))


def test_without_rules_every_text_is_stored_that_is_not_listed_otherwise(tmp_path: Path, tables: Database) -> None:
    numbered, held = stored(tmp_path, tables, (), ROOM)
    assert empty(tables, held) <= {"series_overflows", "redaction_policies"}
    kept = {number for number, field in numbered if listed(field) is not False}
    assert fields(numbered, found(numbered, held.values())) == fields(numbered, kept)
    # What the tests above search for would be there: names and values are stored more than once.
    for table in ("numbers_1m", "histograms_1h", "metrics_1d", "series_admitted", "services_1m", "service_edges_1m"):
        assert found(numbered, [held[table]]), table


def empty(tables: Database, held: dict[str, bytes]) -> set[str]:
    return {table for table in held if not tables.count(table)}


def fields(numbered: list[tuple[int, TextField]], numbers: set[int]) -> list[str]:
    of_number = dict(numbered)
    return sorted(f"{'.'.join(of_number[number].steps)} of {of_number[number].key}" for number in numbers)
