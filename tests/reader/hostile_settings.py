"""Every setting of the engine, set by whoever reads, in each way that HTTP offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from sluiceway.embedded.limits import CHANGEABLE, LOWERED
from tests.reader.attack import Attack, Must

# The product's own allow-list: everything else must be refused.
MAY_BE_CHANGED = frozenset(CHANGEABLE) | LOWERED
# What the engine leaves open whatever its constraints, since `database` and `default_format` of a URL are these settings.
# They choose a database that one may read and a format of the answer, which FORMAT does too.
LEFT_OPEN = frozenset({"database", "default_format", "output_format"})
# Those of them that take any text. It is shown, or stands in an answer; none of it is a file, an address or SQL.
TEXTS = frozenset({
    "async_insert", "format_csv_null_representation", "format_tsv_null_representation", "log_comment", "network_compression_method",
})  # fmt: skip
# Parts of names of what opens, connects, becomes another or goes on after the query; none may be on the list.
DANGEROUS = (
    "schema", "path", "file", "url", "host", "template", "dir", "disk", "cache", "profile", "role", "introspection", "ddl", "distributed", "parallel_replicas",
    "storage", "s3", "hdfs", "azure", "dictionary", "executable", "python", "udf", "temporary", "sql_security", "implicit", "select", "filter", "database", "log_queries",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """As system.settings has it for the reader."""

    name: str
    value: str
    kind: str
    readonly: bool


def settings_of(client: Client) -> list[Setting]:
    """All that the engine knows, whoever asks with the rights of whom `client` is."""
    rows = client.query(
        "SELECT name, value, type, readonly FROM system.settings ORDER BY name LIMIT 100000"
    ).result_rows
    return [Setting(name, value, kind, bool(readonly)) for name, value, kind, readonly in rows]


def changed(setting: Setting, path: str) -> str:
    """Another value than the setting has; a path where any text would do.

    For the few kinds with a list of values it is none of them, and is refused whoever asks: for these, what
    system.settings says of `readonly` is the proof.
    """
    if setting.kind in {"Bool", "BoolAuto"}:
        return "0" if setting.value == "1" else "1"
    if any(word in setting.kind for word in ("Int", "Float", "Double", "Seconds", "Milliseconds", "MaxThreads")):
        whole = setting.value.removeprefix("auto(").removesuffix(")").strip("'").partition(".")[0]
        return str(int(whole) - 1) if whole.isdecimal() and int(whole) > 1 else "7"
    if setting.kind == "Char":
        return "x" if setting.value != "x" else "y"
    if setting.kind == "Timezone":
        return "Asia/Tokyo"
    if setting.kind == "Map":
        return f"{{'a':'{path}'}}"
    return path


def settings_one_by_one(settings: list[Setting], path: str) -> dict[str, list[Attack]]:
    locked = [(setting.name, changed(setting, path)) for setting in settings if setting.name not in MAY_BE_CHANGED]
    quoted = [(name, "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'") for name, value in locked]
    return {
        "settings of the URL": [Attack("SELECT 1", parameters={name: value}) for name, value in locked],
        "settings of the clause": [Attack(f"SELECT 1 SETTINGS {name} = {value}") for name, value in quoted],
        "settings by SET": [Attack(f"SET {name} = {value}") for name, value in quoted],
    }


def settings_that_are_sql(settings: list[Setting], path: str, evil: str) -> Iterator[Attack]:
    """What takes any text is given an expression: the engine has settings that it puts into the query."""
    expressions = (
        f"file('{path}')",
        f"(SELECT 1 FROM sqlite('{evil}', 't'))",
        f"1, file('{path}')",
        f"file('{path}') != ''",
        path,
    )
    for setting in settings:
        if setting.kind in {"String", "Map"} or not setting.kind.isalnum():
            must = Must.BE_HARMLESS if setting.name in MAY_BE_CHANGED else Must.BE_REFUSED
            for expression in expressions:
                quoted = "'" + expression.replace("'", "''") + "'"
                one = f"{setting.name} = {quoted}"
                yield Attack(f"SELECT number FROM numbers(2) SETTINGS {one}", must)
                yield Attack(f"SELECT number FROM numbers(2) SETTINGS log_comment = 'x', {one}", must)
                yield Attack(f"SELECT number FROM numbers(2) SETTINGS/**/`{setting.name}`\n=\n{quoted}", must)
                # A subquery's settings are brought within the bounds, not refused.
                yield Attack(f"SELECT * FROM (SELECT number FROM numbers(2) SETTINGS {one})", Must.BE_HARMLESS)
                yield Attack(f"EXPLAIN SELECT number FROM numbers(2) SETTINGS {one}", Must.BE_HARMLESS)
                yield Attack(f"SELECT 1 UNION ALL SELECT 2 SETTINGS {one}", Must.BE_HARMLESS)
                yield Attack("SELECT number FROM numbers(2)", must, {setting.name: expression})
                yield Attack("SELECT number FROM numbers(2)", Must.BE_HARMLESS, {f"param_{setting.name}": expression})


def settings_of_formats(output_formats: list[str], input_formats: list[str], part: str, evil: str) -> Iterator[Attack]:
    """Files that formats are told to read or write, the one that the issue began with among them."""
    schema = (
        "format_schema",
        "output_format_schema",
        "format_template_row",
        "format_template_resultset",
        "format_template_row_format",
    )
    for form in output_formats:
        yield Attack(f"SELECT 1 AS a FORMAT {form}", Must.BE_HARMLESS)
        yield Attack("SELECT 1 AS a", Must.BE_HARMLESS, {"default_format": form})
        yield Attack("SELECT 1 AS a", Must.BE_HARMLESS, headers={"X-ClickHouse-Format": form})
        yield Attack(f"SELECT 1 AS a INTO OUTFILE '{evil}' FORMAT {form}")
        for name in schema:
            for path in (part, evil):
                yield Attack(
                    f"SELECT 1 AS a FORMAT {form} SETTINGS format_protobuf_use_autogenerated_schema = 1, format_capn_proto_use_autogenerated_schema = 1, {name} = '{path}'"
                )
                yield Attack(
                    "SELECT 1 AS a",
                    parameters={"default_format": form, name: path, "format_protobuf_use_autogenerated_schema": "0"},
                )
    for form in input_formats:
        yield Attack(f"SELECT * FROM format({form}, 'a')", Must.BE_HARMLESS)
        yield Attack(
            f"SELECT * FROM format({form}, 'a String DEFAULT file(''/etc/passwd'')', '{{}}')", Must.BE_HARMLESS
        )
        yield Attack(f"INSERT INTO otel.reader_sees FORMAT {form}\n1")
        yield Attack(f"INSERT INTO otel.reader_sees FROM INFILE '/etc/passwd' FORMAT {form}")
        yield Attack(
            f"SELECT * FROM format({form}, 'a') SETTINGS format_schema = '{part}:M', format_schema_source = 'file'"
        )
        yield Attack("INSERT INTO otel.reader_sees VALUES", parameters={"input_format": form})


# Beyond the bounds of what may be changed.
OUT_OF_BOUNDS = (
    ("max_execution_time", ("0", "-1", "86400", "1000000000000")),
    ("max_memory_usage", ("0", "1000000000000", "18446744073709551615")),
    ("max_memory_usage_for_user", ("0", "1000000000000")),
    ("max_threads", ("64",)),
    ("max_concurrent_queries_for_user", ("0", "1000")),
    ("max_result_rows", ("0", "1000000000000")),
    ("max_result_bytes", ("0", "1000000000000")),
    ("max_block_size", ("0", "18446744073709551615")),
    ("readonly", ("0",)),
    ("allow_ddl", ("1",)),
    ("priority", ("-1",)),
    ("max_query_size", ("0", "1000000000000")),
    ("max_temporary_data_on_disk_size_for_user", ("0", "1000000000000")),
    ("use_query_cache", ("1",)),
    ("allow_introspection_functions", ("1",)),
)


def settings_beyond_bounds() -> Iterator[Attack]:
    for name, values in OUT_OF_BOUNDS:
        for value in values:
            yield Attack("SELECT 1", parameters={name: value.strip("'")})
            yield Attack(f"SELECT 1 SETTINGS {name} = {value}")
            yield Attack(f"SET {name} = {value}")
            lifted = f"if(getSetting('{name}') = {value}, concat('lifted', '-limit'), 'kept')"
            yield Attack(f"SELECT * FROM (SELECT {lifted} SETTINGS {name} = {value})", Must.BE_HARMLESS)
            yield Attack(f"SELECT {lifted} SETTINGS {name} = DEFAULT", Must.BE_HARMLESS)
            yield Attack("SELECT 1", parameters={name.upper(): value.strip("'")})
            yield Attack(f"SELECT 1 SETTINGS {name} = DEFAULT, {name} = {value}")
