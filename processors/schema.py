"""Bring the store's objects to our definitions: additive, resumable, safe to run twice.

The plan is the difference between schemas.ddl and what the store has, so there is no state that an interruption could
leave dirty. Only CREATE, ADD COLUMN, ADD INDEX, MODIFY TTL, MODIFY QUERY and a larger deduplication window are ever
planned; nothing is dropped or rewritten.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from processors.store_client import store_errors
from schemas.ddl import DEDUPLICATION_WINDOW, VERSION, Definition, definitions
from schemas.errors import ConfigurationError
from schemas.settings import RetentionSettings


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a plan and why it is there."""

    statement: str
    reason: str


def plan(client: Client, database: str, retention: RetentionSettings) -> list[Step]:
    """The statements that bring `database` to our schema; empty when nothing is to be done.

    Raises:
        ConfigurationError: a column has a type that we cannot use, or the store was written by a later version.
        StoreUnavailableError: the store cannot be asked now.
    """
    with store_errors():
        steps = _database_steps(client, database)
        tables = {
            name: (create, select, comment)
            for name, create, select, comment in client.query(
                "SELECT name, create_table_query, as_select, comment FROM system.tables WHERE database = {d:String}",
                parameters={"d": database},
            ).result_rows
        }
        columns: dict[str, dict[str, str]] = {}
        for table, name, kind in client.query(
            "SELECT table, name, type FROM system.columns WHERE database = {d:String}", parameters={"d": database}
        ).result_rows:
            columns.setdefault(table, {})[name] = kind
        if "schema_versions" in tables:
            newest = int(client.query(f"SELECT max(Version) FROM {database}.schema_versions").result_rows[0][0])
            if newest > VERSION:
                raise ConfigurationError(
                    f"schema: the store has version {newest}, this release knows {VERSION}; run the later release"
                )
    for definition in definitions(database, retention):
        if definition.name not in tables:
            steps.append(Step(_create(definition), f"{definition.name} is missing"))
            continue
        create, _, comment = tables[definition.name]
        steps += _changes(definition, database, create, comment, columns.get(definition.name, {}))
    return steps


def _database_steps(client: Client, database: str) -> list[Step]:
    databases = {row[0] for row in client.query("SELECT name FROM system.databases").result_rows}
    if database in databases:
        return []
    return [Step(f"CREATE DATABASE IF NOT EXISTS {database} ENGINE = Atomic", "the database is missing")]


def _create(definition: Definition) -> str:
    # The comment identifies the definition: the server reformats a view's query, so text cannot be compared.
    if definition.query:
        head, _, query = definition.create.partition(" AS\n")
        return f"{head} AS\n{query}\nCOMMENT '{definition.checksum}'"
    return f"{definition.create}\nCOMMENT '{definition.checksum}'"


def _changes(definition: Definition, database: str, create: str, comment: str, found: dict[str, str]) -> list[Step]:
    name = f"{database}.{definition.name}"
    if definition.query:
        if comment == definition.checksum:
            return []
        if " MATERIALIZED VIEW " not in definition.create:
            return [
                Step(
                    _create(definition).replace("CREATE VIEW IF NOT EXISTS", "CREATE OR REPLACE VIEW", 1),
                    f"the query of {definition.name} changed",
                )
            ]
        return [
            Step(f"ALTER TABLE {name} MODIFY QUERY {definition.query}", f"the query of {definition.name} changed"),
            Step(f"ALTER TABLE {name} MODIFY COMMENT '{definition.checksum}'", "says which definition it has"),
        ]
    steps = []
    for column, sql in definition.columns.items():
        if column not in found:
            steps.append(Step(f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {sql}", f"{column} is missing"))
    for index, sql in definition.indexes.items():
        # Parts that are there are not read for it: they get it when they are merged.
        if f"INDEX {index} " not in create:
            steps.append(Step(f"ALTER TABLE {name} ADD {sql}", f"{index} is missing"))
    for base in definition.table.columns if definition.table else ():
        if found.get(base.name, base.type) != base.type:
            raise ConfigurationError(
                f"schema: {name}.{base.name} must be {base.type} (types are never changed in place); found "
                f"{found[base.name]}"
            )
    window = re.search(r"\bnon_replicated_deduplication_window = (\d+)", create)
    # One that an operator made larger is left.
    if definition.keeps_tokens and int(window[1] if window else 0) < DEDUPLICATION_WINDOW:
        steps.append(
            Step(
                f"ALTER TABLE {name} MODIFY SETTING non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}",
                f"{definition.name} remembers fewer tokens",
            )
        )
    # The word that follows is part of what is sought: 3 days must not be found in 31 days.
    if definition.ttl and _plain(f"TTL {definition.ttl} SETTINGS") not in _plain(create):
        steps.append(
            Step(
                f"ALTER TABLE {name} MODIFY TTL {definition.ttl} SETTINGS materialize_ttl_after_modify = 0",
                f"the retention of {definition.name} changed",
            )
        )
    return steps


def _plain(sql: str) -> str:
    return re.sub(r"[\s()`]+", "", sql).lower()


def is_current(client: Client, database: str, retention: RetentionSettings) -> bool:
    """Whether nothing is to be done and that is recorded; errors as `plan`."""
    return not plan(client, database, retention) and _is_recorded(client, database, retention)


def create_database(client: Client, database: str) -> None:
    """Make the database where it is missing."""
    with store_errors():
        for step in _database_steps(client, database):
            client.command(step.statement)


def apply(
    client: Client,
    database: str,
    retention: RetentionSettings,
    *,
    before_each: Callable[[], None] = lambda: None,
) -> list[Step]:
    """Run the plan and record it; returns the steps taken. Several at once do no harm, but see `schema_lease`.

    Args:
        before_each: called before each statement; what it raises ends the run.

    Raises:
        ConfigurationError, StoreUnavailableError: as `plan`; what was done before stays, and the next run goes on.
    """
    steps = plan(client, database, retention)
    with store_errors():
        for step in steps:
            before_each()
            client.command(step.statement)
        # Also where a run was interrupted between its last statement and this record.
        if steps or not _is_recorded(client, database, retention):
            before_each()
            client.insert(
                f"{database}.schema_versions",
                [[VERSION, _checksum(database, retention), [step.statement for step in steps]]],
                column_names=["Version", "Checksum", "Statements"],
            )
    return steps


def _checksum(database: str, retention: RetentionSettings) -> str:
    checksums = "".join(definition.checksum for definition in definitions(database, retention))
    return hashlib.sha256(checksums.encode()).hexdigest()[:16]


def _is_recorded(client: Client, database: str, retention: RetentionSettings) -> bool:
    with store_errors():
        recorded = client.query(
            f"SELECT argMax(Checksum, AppliedAt) FROM {database}.schema_versions WHERE Version = {VERSION}"
        ).result_rows[0][0]
    return bool(recorded == _checksum(database, retention))
