"""What a statement calls, read by the gate and by the engine: where the gate lets one pass, the engine finds in it no
function but the named ones. The engine's own syntax tree is the oracle, over text in which strings, comments and quoted
names of all forms begin and end where one does not expect it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.store_client import connect
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.gate.statements import MAX_STATEMENT_BYTES, allowed_names, refusal

HOSTILE = ("sqlite", "file", "url", "remote", "executable", "SQLite", "s3")
# Beginnings and ends of strings, names and comments, in all forms that the engine's lexer knows, and in some others.
PIECES = (
    "'", "''", "\\'", "\\\\", "\\", '"', '""', "`", "``", "--", "-- ", "/*", "*/", "//", "#", "# ", "#!", "$$", "$a$",
    "$", "\n", "\r", "\r\n", "\t", " ", "\x0b", "\x0c", "\x00", "\x1a", "\u00a0", "\u2003", "\u2028", "\u3000",
    "\ufeff", "\u2018", "\u2019", "\u201c", "\u201d", "\u2212\u2212", "\u2014", "x'", "b'", "X'", "N'", "E'", "0x",
    "1", "a", "AS", ",", ";", "::", "{a:", "}", "@", "?", "\\G", "%",
)  # fmt: skip
soup = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
gap = st.sampled_from(["", " ", "\n", "/**/", "/* ( */", "-- x\n", "//x\n", "# x\n", "\u00a0", "\r", "--\r"]) | soup

# A comment or string of some form with one quote in it before the call, and its like behind: a reader that misjudges
# where the first ends takes the call for part of a string.
STARTS = (
    "--", "-- ", "//", "// ", "#", "# ", "#!", "/*", "/* /* */", "$$", "$a$", "x'", "b'", "'", "'\\", '"', '"\\', "`",
    "",
)  # fmt: skip
ENDS = (
    "\n", "\r", "\r\n", "*/", "$$", "$a$", "'", "''", '"', "`", "\n*/", "\u2028", "",
)  # fmt: skip
islands = st.builds("".join, st.tuples(st.sampled_from(STARTS), st.sampled_from("'\"`x"), st.sampled_from(ENDS)))


@pytest.fixture(scope="module")
def writer(store: EmbeddedStore) -> Iterator[Client]:
    with connect(store.url, user=store.writer_user, password=store.writer_password, database=None) as client:
        yield client


def called(client: Client, statement: str) -> set[str]:
    """The functions in the engine's syntax tree, nothing where it cannot read the statement. It runs none of them."""
    try:
        tree = client.command("EXPLAIN AST " + statement)
    except (DatabaseError, UnicodeEncodeError):
        return set()
    return set(re.findall(r"^\s*(?:Table)?Function (\S+)", str(tree), re.MULTILINE))


@settings(max_examples=1200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(islands, islands, st.sampled_from(HOSTILE))
def test_no_hostile_call_passes_between_two_quotes(writer: Client, before: str, behind: str, name: str) -> None:
    statement = f"SELECT 1 {before} FROM {name}('p', 't') {behind}"
    if refusal(statement) is None:
        assert name.lower() not in {each.lower() for each in called(writer, statement)}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(soup, soup, soup), st.sampled_from(HOSTILE), gap, st.booleans())
def test_no_hostile_call_passes_whatever_stands_around_it(
    writer: Client, around: tuple[str, str, str], name: str, between: str, quoted: bool
) -> None:
    call = f"`{name}`" if quoted else name
    statement = f"SELECT {around[0]} 1 {around[1]} FROM {call}{between}('p', 't') {around[2]}"
    if refusal(statement) is None:
        assert not {each.lower() for each in called(writer, statement)} & {each.lower() for each in HOSTILE}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(name for name in allowed_names() if " " not in name)), min_size=1, max_size=5))
def test_what_passes_calls_allowed_names_only(writer: Client, names: list[str]) -> None:
    statement = "SELECT " + ", ".join(f"{name}(1)" for name in names)
    assert refusal(statement) is None
    # Names with other letters are the engine's own, of operators and of aliases.
    found = {name.lower() for name in called(writer, statement) if re.fullmatch(r"\w+", name)}
    assert {name for name in found if refusal(f"SELECT {name}(1)") is not None} <= {"_cast"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count() FROM otel.otel_traces",
        "  -- what is it?\n/* a comment */ WITH a AS (SELECT 1 AS x) SELECT x FROM a;",
        "SELECT quantile(0.9)(Duration), countIf(Duration > 1), argMaxMergeIf(a, b), sumMapIf(x, y) FROM t",
        "SELECT 'it''s sqlite(1)', \"a file\", `url`, '$a$ -- /* # \u2018 \u2019', SpanAttributes['http.url'] FROM t",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT * FROM otel.service_red_1m(from = now() - INTERVAL 1 HOUR, to = now()) WHERE a IN (1) AND (NOT (c))",
        "SELECT arrayMap((x, y) -> x + y, a, b), CAST(1 AS Nullable(String)), {p:Array(String)} FROM numbers(10)",
        "DESCRIBE TABLE (SELECT 1)", "SHOW TABLES FROM otel", "EXPLAIN SELECT 1", "EXISTS otel.otel_logs", "USE otel",
        "SET max_threads = 1", "SELECT 1 FORMAT JSON", "FROM numbers(3) SELECT number", "DESC (SELECT 1) FORMAT TSKV",
        "SELECT 1 SETTINGS max_threads = 1, final SETTINGS `limit` = 1.5e3;", "SHOW CHANGED SETTINGS ILIKE 'max%'",
        "SELECT 1 FORMAT JSON SETTINGS session_timezone = 'Europe/Berlin', log_comment = 'it''s'",
        "SELECT 1 SETTINGS max_execution_time = -1 FORMAT JSON", "SHOW SETTINGS LIKE 'max%'",
        "SELECT 1 SETTINGS max_threads = 1e0, limit = 0.5e1 FORMAT JSON",
        "SELECT name FROM system.settings WHERE name = 'select'",
        "SELECT printf('%.6g', exp2(1)), printf('%03d' , 1)",
        "SELECT x'4142', DATE'2020-01-01', 1.5e10, 0x1F, .5, 1_000",
    ],
)  # fmt: skip
def test_what_people_and_their_tools_ask_passes(statement: str) -> None:
    assert refusal(statement) is None


# What stands before SETTINGS, and values of all forms in the list: a reader that takes the end of the list for earlier
# does not see the setting behind it.
heads = st.sampled_from(
    ["1", "1.", "1 AS show", "1 AS changed", "1 AS `show`", '1 AS "changed"', '1 AS "."', "a.b", "1 AS a", "'show'",
     "1 AS set", "1 AS `settings`", "(1 AS x).1", "1 AS `.`"]
)  # fmt: skip
values = st.sampled_from(
    ["1", "1.", "1.e0", "1.E0", "1.e+0", "0x1.ap1", "0x1p0", ".5e1", "1e0", "-1", "-1.e0", "+1", "inf", "-inf", "nan",
     "NULL", "true", "DEFAULT", "''", "'a'", "'SETTINGS'", "x'41'", "[1, 2]", "[[1.e0], 2]", "{'a': 1}", "{'a': [1]}",
     "1_0", "0b1", "1..", "tuple(1)", "(1, 2)", "1::UInt8", "1/**/", "'a' 'b'", "{a:UInt8}", "a", "`a`"]
)  # fmt: skip
changes = st.lists(st.tuples(st.sampled_from(["limit", "max_threads", "final"]), values), min_size=1, max_size=3)
tails = st.sampled_from(["", " FORMAT JSON", " UNION ALL SELECT 2", "\nFORMAT JSON SETTINGS limit = 1"])


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(heads, changes, st.sampled_from(["", " ", "/**/", "\n"]), tails, st.booleans())
def test_what_passes_sets_named_settings_only(
    writer: Client, head: str, changed: list[tuple[str, str]], gap: str, tail: str, inner: bool
) -> None:
    listed = "".join(f"{name}{gap}={value}{gap}," for name, value in changed)
    statement = f"SELECT {head} SETTINGS {listed} page = 1{tail}"
    if inner:
        # Here the engine does not hold what is `const`, so nothing but the gate does.
        statement = f"SELECT * FROM ({statement}) AS t"
    if refusal(statement) is None:
        assert "page" not in set_in(writer, statement)


def set_in(client: Client, statement: str) -> set[str]:
    """The settings in the engine's syntax tree, nothing where it cannot read the statement."""
    try:
        tree = client.query("SELECT parseQueryToJSON({s:String})", parameters={"s": statement}).result_rows[0][0]
    except DatabaseError:
        return set()
    return set(re.findall(r'\{"name":"(\w+)","value"', tree))


def test_the_oracle_sees_settings(writer: Client) -> None:
    seen = set_in(writer, "SELECT * FROM (SELECT 1 AS changed SETTINGS limit = 1.e0, page = 1) AS t SETTINGS final = 1")
    assert seen == {"limit", "page", "final"}


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT * FROM sqlite('a', 'b')", "'sqlite' is not among"),
        ("SELECT * FROM/**/sqlite/**/\n-- x\n('a', 'b')", "'sqlite' is not among"),
        ('SELECT * FROM "sqlite"(1)', "'sqlite' is not among"),
        ("SELECT 1 AS sqlite, * FROM sqlite('a', 'b')", "'sqlite' is not among"),
        ("DESCRIBE TABLE url('http://x')", "'url' is not among"),
        ("SELECT FILE('x')", "'file' is a function"),
        ("SELECT arrayMap(file, ['/etc/passwd'])", "'file' is a function"),
        ("SELECT * APPLY `file` FROM t", "'file' is a function"),
        ("SELECT arrayMap({f:Identifier}, ['/etc/passwd'])", "type Identifier"),
        ("INSERT INTO entry.pipe VALUES (1)", "begins with one of"),
        ("SYSTEM STOP LISTEN HTTP", "begins with one of"),
        ("SELECT 1 SETTINGS select = 'file(1)'", "setting 'select' is not among"),
        ("SELECT 1 SETTINGS max_threads = [1, 2], `filter` = 'x'", "settings end a statement"),
        ("SELECT 1. SETTINGS page = 2", "setting 'page' is not among"),
        ("SELECT 1 AS changed SETTINGS page = 2", "setting 'page' is not among"),
        ("SELECT 1 AS `show` SETTINGS page = 2", "setting 'page' is not among"),
        ('SELECT 1 AS "." SETTINGS page = 2', "setting 'page' is not among"),
        ("SHOW TABLES WHERE changed SETTINGS page = 2", "setting 'page' is not among"),
        ("SELECT 1 FORMAT JSON SETTINGS limit = 'a''b', page = 2", "setting 'page' is not among"),
        ("SELECT * FROM (SELECT 1 SETTINGS max_threads = 1) AS t", "settings end a statement"),
        ("SELECT 1 SETTINGS max_threads = 1 UNION ALL SELECT 2", "settings end a statement"),
        ("SELECT 1 SETTINGS max_threads = 1.e0, page = 2", "settings end a statement"),
        ("SELECT 1 SETTINGS max_threads = 0x1.ap1, page = 2", "settings end a statement"),
        ("SELECT 1 SETTINGS max_threads = 1 page = 2", "settings end a statement"),
        ("SELECT 1 SETTINGS max_threads = 1 /* ' */, page = 2", "settings end a statement"),
        ("SELECT " + "/* " * 80_000, "does not end"),
        ("SET max_threads = 1, dialect = 'kusto'", "setting 'dialect' is not among"),
        ("SELECT 1 SETTINGS 1", "settings end a statement"),
        ("SELECT printf('%999999999d', 1)", "three digits"),
        ("SELECT printf('%9' || '99999999d', 1)", "as one string"),
        ("SELECT `PRINTF` ( '%*d', 1)", "three digits"),
        ("SELECT printf('%9\\x3999999d', 1)", "three digits"),
        ("SELECT arrayMap(printf, ['%999999999d'], [1])", "as one string"),
        ("SELECT printf({f:String}, 1)", "as one string"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT $$a$$", "heredoc"),
        ("SELECT 1 # x", "begins with #"),
        ("SELECT 1 // ' \n", "begins with //"),
        ("SELECT x'\\' , 1", "does not end"),
        ("SELECT x'\\'' , 1", "holds no backslash"),
        ("SELECT 1 -- \r SELECT", "carriage return"),
        ("SELECT /* /* */ 1", "no other comment"),
        ("SELECT " + "/* " * 80_000, "a comment that does not end"),
        ("SELECT x" + "if" * 130_000 + "(1)", "is not among"),
        ("SELECT \u20181\u2019", "outside of quotes"),
        ("SELECT 1 INTO\nOUTFILE 'x'", "INTO OUTFILE"),
        ("SELECT 'a\x00b'", "NUL"),
        ("SELECT * FROM {f:String}('x')", "by name"),
        ("SELECT " + "1," * MAX_STATEMENT_BYTES, "bytes, received"),
        ("SELECT " + "1," * 100_000, "words, signs"),
        ("SELECT " + "if" * 100_000 + "(1)", "is not among"),
    ],
)
def test_what_is_refused_says_why(statement: str, reason: str) -> None:
    said = refusal(statement)
    assert said is not None
    assert reason in said
