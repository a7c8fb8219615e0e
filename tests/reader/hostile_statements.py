"""Hostile statements, generated from the engine: its tables, keywords and privileges, and what is written by hand."""

from __future__ import annotations

from collections.abc import Iterator

from clickhouse_connect.driver.client import Client

from tests.reader.attack import Attack, Must
from tests.reader.hostile_calls import (
    disguised,
    file_functions,
    functions_without_parentheses,
    scalar_functions,
    table_functions,
)
from tests.reader.targets import Targets, lines

# Tables of `system` that clients read, that are the same for everybody, or (the last line) that show one's own only.
MAY_BE_READ = frozenset(
    [
        "aggregate_function_combinators",
        "asynchronous_metrics",
        "build_options",
        "codecs",
        "collations",
        "columns",
        "completions",
        "contributors",
        "data_type_families",
        "database_engines",
        "databases",
        "dictionaries",
        "dictionary_layouts",
        "disk_types",
        "documentation",
        "formats",
        "functions",
        "keywords",
        "licenses",
        "numbers",
        "numbers_mt",
        "one",
        "parts",
        "primes",
        "privileges",
        "settings",
        "table_engines",
        "table_functions",
        "tables",
        "time_zones",
        "unicode",
        "zeros",
        "zeros_mt",
        "current_roles",
        "enabled_roles",
        "quota_usage",
        "user_query_log",
    ]
)
# First words of what may be answered: whether others' names and rows are in it is looked at. Those of the last line are
# expressions, which the engine takes for a SELECT.
MAY_BE_ANSWERED = frozenset(
    [
        "SELECT",
        "WITH",
        "FROM",
        "EXPLAIN",
        "DESC",
        "DESCRIBE",
        "SHOW",
        "EXISTS",
        "SET",
        "USE",
        "VALUES",
        "ALL",
        "DISTINCT",
        "CURRENT_USER",
        "DATABASE",
        "NULL",
        "TRUE",
        "FALSE",
    ]
)


def system_tables(names: list[str]) -> Iterator[Attack]:
    """Every table of `system` and of others, named as they are and through what may look around the grants."""
    for name in names:
        database, _, table = name.partition(".")
        may = Must.BE_HARMLESS if database != "system" or table in MAY_BE_READ else Must.BE_REFUSED
        quoted = f"`{database}`.`{table}`"
        yield Attack(f"SELECT * FROM {quoted} LIMIT 1000", may)
        yield Attack(f"SELECT count() FROM {quoted}", may)
        yield Attack(f"SELECT * FROM view(SELECT * FROM {quoted}) LIMIT 9", may)
        yield Attack(f"SELECT * FROM merge('{database}', '^{table}$') LIMIT 9", Must.BE_HARMLESS)
        yield Attack(f"SELECT * FROM loop({quoted}) LIMIT 9", may)
        yield Attack(f"SELECT * FROM remote('127.0.0.1', {quoted}) LIMIT 9")
        yield Attack(f"INSERT INTO {quoted} SELECT * FROM {quoted}")
        yield Attack(f"INSERT INTO {quoted} FROM INFILE '/dev/stdin' FORMAT CSV")
        yield Attack(f"TRUNCATE TABLE {quoted}")
        yield Attack(f"DROP TABLE {quoted}")
        by_name = {"param_t": database, "param_u": table}
        yield Attack("SELECT * FROM {t:Identifier}.{u:Identifier} LIMIT 9", may, by_name)
        for ask in ("DESCRIBE TABLE", "SHOW CREATE TABLE", "EXISTS TABLE", "SHOW INDEX FROM", "SHOW COLUMNS FROM"):
            yield Attack(f"{ask} {quoted}", Must.BE_HARMLESS)


def statements_by_keyword(keywords: list[str], targets: Targets) -> Iterator[Attack]:
    """Each word of the grammar as the beginning of a statement."""
    for word in keywords:
        must = Must.BE_HARMLESS if word.split()[0] in MAY_BE_ANSWERED else Must.BE_REFUSED
        ends = ("", f" {targets.private}", f" TABLE {targets.ours}", " DATABASE otel", " default", f" '{targets.evil}'")
        for end in ends:
            yield Attack(f"{word}{end}", must)


def statements_by_privilege(privileges: list[str], targets: Targets) -> Iterator[Attack]:
    """What each privilege of the engine allows: most are named like the statement that needs them."""
    for privilege in privileges:
        if privilege.split()[0] in {"SELECT", "SHOW"}:
            continue
        for end in ("", f" {targets.ours}", " ON *.*", " x"):
            yield Attack(f"{privilege}{end}")
        yield Attack(f"GRANT {privilege} ON *.* TO default")
        yield Attack(f"GRANT {privilege} ON *.* TO CURRENT_USER WITH GRANT OPTION")


def written_statements(targets: Targets, others: list[str]) -> Iterator[Attack]:
    """What keywords alone do not reach: whole statements, as they would be used. `others` are users."""
    for line in lines("statements.txt"):
        yield Attack(
            line.replace("{ours}", targets.ours)
            .replace("private.{private_table}", targets.private)
            .replace("{private_table}", targets.private.split(".")[1])
            .replace("{part_folder}", str(targets.part.parent))
            .replace("{part}", str(targets.part))
            .replace("{evil}", str(targets.evil))
            .replace("{url}", f"http://{targets.listener}")
            .replace("{listener}", targets.listener)
            .replace("{readable}", str(targets.readable[0]))
        )
    for user in others:
        yield Attack(f"EXECUTE AS {user} SELECT currentUser()")
        yield Attack(f"EXECUTE AS {user}")
        yield Attack(f"SHOW GRANTS FOR {user}")
        yield Attack(f"SHOW CREATE USER {user}")
        yield Attack(f"GRANT {user} TO CURRENT_USER")


def statements_of_engine(client: Client, targets: Targets, others: list[str]) -> dict[str, list[Attack]]:
    """All of them by kind, generated from what the engine says of itself."""

    def column(query: str) -> list[str]:
        return [str(row[0]) for row in client.query(query).result_rows]

    functions = column("SELECT name FROM system.functions WHERE NOT is_aggregate ORDER BY name")
    # Of the two spellings of information_schema one.
    tables = column(
        "SELECT concat(database, '.', name) FROM system.tables "
        "WHERE database NOT IN ('otel', 'INFORMATION_SCHEMA') AND (database != 'information_schema' OR name = lower(name))"
    )
    privileges = column(
        "SELECT DISTINCT arrayJoin(arrayConcat([toString(privilege)], aliases)) FROM system.privileges ORDER BY 1"
    )
    return {
        "table functions": list(
            table_functions(column("SELECT name FROM system.table_functions ORDER BY name"), targets)
        ),
        "disguised table functions": list(disguised(targets)),
        "functions of files": list(file_functions(targets)),
        "functions": list(scalar_functions(functions, targets, whole=False)),
        "functions without parentheses": list(functions_without_parentheses(functions, targets)),
        "functions, all shapes": list(scalar_functions(functions, targets, whole=True)),
        "tables": list(system_tables(sorted(tables))),
        "keywords": list(
            statements_by_keyword(column("SELECT DISTINCT keyword FROM system.keywords ORDER BY 1"), targets)
        ),
        "privileges": list(statements_by_privilege(privileges, targets)),
        "statements": list(written_statements(targets, others)),
    }
