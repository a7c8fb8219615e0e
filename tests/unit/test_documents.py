"""Files that people write, as bombs: a table of them for every reader, in a process with bounds on memory and CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas import documents
from schemas.documents import DocumentError, parse_toml, parse_yaml
from schemas.shown import brief

_CPU_S = 60
_MEMORY_BYTES = 1 << 30
_LONGEST_ERROR = 60_000
# The cost of text grows with its size alone; a file may have five times this.
_LARGE = 200_000


def _laughs(levels: int, of: str) -> str:
    lines = [f"a0: &a0 [{', '.join([of] * 10)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


YAML: dict[str, str] = {
    "billion laughs": _laughs(10, "lol"),
    "laughs as a known field": "teams: &a0 {x: y}\n" + "".join(
        f"services{n}: &a{n + 1} {{x: *a{n}, y: *a{n}, z: *a{n}}}\n" for n in range(40)),
    "quadratic": "a: &a " + "x" * 50_000 + "\nb: [" + ",".join(["*a"] * 100_000) + "]",
    "itself": "a: &a [*a]",
    "itself as a key": "a: &a {*a : 1}",
    "merged itself": "a: &a {<<: *a}",
    "merge keys": "a: &a {x: 1}\nb: {<<: [" + ",".join(["*a"] * 50_000) + "]}",
    "merge keys, doubled": "a0: &a0 {k0: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, 40)),
    "deep flow": "[" * 50_000,
    "deep flow by line": "[\n" * 50_000,
    "deep mapping": "".join(" " * n + "a:\n" for n in range(1200)),
    "deep sequence": "- " * 50_000,
    "deep key": "? " * 50_000,
    "deep and closed": "a: " + "[" * 5000 + "]" * 5000,
    "giant scalar": "a: " + "x" * _LARGE,
    "giant scalar as all": "x" * _LARGE,
    "giant scalar of lines": "a: " + "x\n " * (_LARGE // 3),
    "giant escapes": 'a: "' + "\\x41" * (_LARGE // 4) + '"',
    "giant block": "a: |\n" + " xxxxxxxxxxx\n" * (_LARGE // 13),
    "giant key": "? " + "x" * _LARGE,
    "giant number": "a: " + "9" * _LARGE,
    "giant number, base 16": "a: 0x" + "f" * _LARGE,
    "giant number, base 60": "a: 1" + ":1" * (_LARGE // 2),
    "giant fraction": "a: 1" + "0" * _LARGE + ".0",
    "number in a known field": "log: {max_bytes: " + "9" * 100_000 + "}",
    "giant tag": "a: !" + "x" * _LARGE + " b",
    "giant alias": "a: *" + "x" * _LARGE,
    "giant anchor": "a: &" + "x" * _LARGE + " b",
    "many keys": "\n".join(f"k{n}: 1" for n in range(30_000)),
    "many unknown settings": "\n".join(f"log_{n}: 1" for n in range(9_900)),
    "many anchors": "".join(f"- &a{n} x\n" for n in range(25_000)),
    "many documents": "---\na\n" * 25_000,
    "many comments": "#\n" * (_LARGE // 2),
    "a long chain of teams": "teams:\n" + "".join(
        f"  t{n}: {{dri: a, page: {{webhook_url: 'http://x'}}, ticket: {{webhook_url: 'http://x'}}, "
        f"escalate_to: t{n + 1}, escalate_after: 1m}}\n" for n in range(1200))
        + "  t1200: {dri: a, page: {webhook_url: 'http://x'}, ticket: {webhook_url: 'http://x'}}\n"
        + "platform: nobody\ndefault: t0",
    "a key twice": "log:\n  path: a\n  path: b",
    "a key twice by its value": "1: a\n0x1: b",
    "a key that is no name": "[a, b]: c",
    "an object": "a: !!python/object/apply:os.system [id]",
    "a set as a key": "!!set a: 1",
    "a time that is none": "a: 2001-99-99",
    "larger than may be read": "#" * (documents.MAX_FILE_BYTES + 1),
    "no UTF-8": "a: \udcff",
    "a control character": "a: \x01",
}  # fmt: skip
TOML: dict[str, str] = {
    "dotted key": "a." * 100_000 + "a = 1",
    "dotted key, quoted": '"é".' * 100_000 + "a = 1",
    "dotted header": "[" + "a." * 100_000 + "a]",
    "dotted key inside": "x = {" + "a." * 100_000 + "a = 1}",
    "deep array": "a = " + "[" * 50_000,
    "deep table": "a = " + "{a = " * 100_000,
    "many values": "a = [" + "1," * 300_000 + "]",
    "many headers": "\n".join(f"[a{n}]" for n in range(30_000)),
    "giant number": "a = " + "9" * _LARGE,
    "giant string": 'a = "' + "x" * _LARGE + '"',
    "open string": 'a = "' + "\\" * _LARGE,
    "open strings": 'a = """' + '"a\n' * (_LARGE // 4),
    "a key twice": "a = 1\na = 2",
}
# What none of the readers may refuse for its form; what it says is another matter.
_HARMLESS = {"giant scalar", "giant scalar of lines", "giant escapes", "giant block", "many comments", "giant string"}

_READERS = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CPU, ({cpu_s}, {cpu_s}))
resource.setrlimit(resource.RLIMIT_AS, ({memory_bytes}, {memory_bytes}))
from dashboards.alerts import owners
from dashboards.slo import files
from schemas.errors import ConfigurationError
from sluiceway.config import load
readers = {{"config": load, "owners": owners.read, "objectives": lambda file: files.read(file.parent)}}
read = readers[sys.argv[1]]
told = {{}}
for file in sorted(Path(sys.argv[2]).rglob("*.*")):
    try:
        read(file)
        told[file.parent.name] = ""
    except ConfigurationError as error:
        told[file.parent.name] = str(error)
    except BaseException as error:
        told[file.parent.name] = f"!!! {{type(error).__name__}}: {{str(error)[:200]}}"
    print(file.parent.name, file=sys.stderr, flush=True)
print(json.dumps(told))
"""


def _told(reader: str, folder: Path, texts: dict[str, str], suffix: str) -> dict[str, str]:
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / f"file{suffix}").write_text(text, "utf-8", errors="surrogateescape")
    code = _READERS.format(cpu_s=_CPU_S, memory_bytes=_MEMORY_BYTES)
    root = Path(documents.__file__).parent.parent
    shown = subprocess.run(
        [sys.executable, "-c", code, reader, str(folder)], cwd=root, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, f"ended after {shown.stderr.splitlines()[-1:]}"
    told: dict[str, str] = json.loads(shown.stdout)
    return told


@pytest.mark.parametrize("reader", ["config", "owners", "objectives"])
def test_every_bomb_is_refused_by_every_reader_with_file_and_rule(reader: str, tmp_path: Path) -> None:
    told = _told(reader, tmp_path, YAML, ".yaml")

    assert set(told) == set(YAML)
    accepted = {name for name, error in told.items() if not error}
    # A file without documents holds no objective, and no setting.
    assert accepted <= {"many comments"}
    assert {name: error for name, error in told.items() if error.startswith("!!!")} == {}
    assert {name: len(error) for name, error in told.items() if len(error) > _LONGEST_ERROR} == {}
    assert {name for name, error in told.items() if error and "file.yaml" not in error} == set()
    by_form = {name for name, error in told.items() if "must be YAML" in error or "must be readable YAML" in error}
    assert {"billion laughs", "quadratic", "deep flow", "merge keys, doubled", "giant number"} <= by_form
    assert by_form & _HARMLESS == set()


def test_every_bomb_in_toml_is_refused(tmp_path: Path) -> None:
    told = _told("config", tmp_path, TOML, ".toml")

    assert {name for name, error in told.items() if not error or error.startswith("!!!")} == set()
    assert {name: len(error) for name, error in told.items() if len(error) > _LONGEST_ERROR} == {}
    assert {name for name, error in told.items() if "must be TOML" not in error} == {"giant string"}


@pytest.mark.parametrize("text", [
    "[" * 50_000, '{"a":' * 50_000, '{"a":' * 500 + "1" + "}" * 500, "[" + "9" * 50_000 + "]", '["' + "x" * 100_000,
    "[" + "1," * 40_000 + "1]", "[1, 1", "{}" * 5000,
], ids=lambda text: text[:8])  # fmt: skip
def test_a_bomb_in_a_variable_is_refused_in_one_short_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from schemas.errors import ConfigurationError
    from sluiceway.config import load

    monkeypatch.setenv("SLUICEWAY_INGEST__TENANT_LIMITS", text)

    with pytest.raises(ConfigurationError) as refused:
        load()
    assert len(str(refused.value)) < _LONGEST_ERROR
    assert "ingest.tenant_limits" in str(refused.value)


@pytest.mark.parametrize(("text", "line", "rule"), [
    ("a: 1\nb: 2\na: 3", 3, "key 'a' is given twice"),
    ("a: &a x\nb: *c", 2, "found undefined alias 'c'"),
    (_laughs(6, "x"), 5, "aliases and values must come to at most 20000 values; got 23462"),
    ("a: &a " + "x" * 50_000 + "\nb: [" + ",".join(["*a"] * 30) + "]", 2,
     "the text of aliases and values must come to at most 1048576 characters; got 1050002"),
    ("\n\n" + "[" * 40, 3, "nesting must come to at most 32 levels; got 33"),
    ("a: &a\n  - *a", 2, "must not contain itself; got *a inside &a"),
    ("\na: " + "9" * 65, 2, "a number, a time or a word that is not text must come to at most 64 characters; got 65"),
    ("a: b\nc: \x07", 2, "must have no control characters; got U+0007"),
])  # fmt: skip
def test_a_refusal_says_line_rule_and_number(text: str, line: int, rule: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse_yaml(text)
    assert (refused.value.line, refused.value.rule) == (line, rule)


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=30,
)  # fmt: skip


@given(value=_VALUES, flow=st.booleans())
def test_what_another_writer_wrote_is_read_as_its_own_reader_reads_it(value: Any, flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)

    (document,) = parse_yaml(text)

    assert document.values == yaml.safe_load(text)


def test_anchors_and_merge_keys_within_the_bounds_mean_what_they_mean_to_pyyaml() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: [*b, *a], z: [*a, *b]}\nd: *b"

    assert parse_yaml(text)[0].values == yaml.safe_load(text)


@pytest.mark.parametrize("text", [
    'a = "b.c.d" # .....\n[x.y]\nz = [1, 2.5, {q = 1}]\n', "a = '''" + "a. b. c.\n" * 1000 + "'''",
    'a = """' + "....\\\"'''" * 100 + '"""\nb = 1', "[[a.b]]\nc = 1\n[[a.b]]\nc = 2",
    'a."b.c".d = 1979-05-27T07:32:00Z',
])  # fmt: skip
def test_ordinary_toml_is_read_as_tomllib_reads_it(text: str) -> None:
    assert parse_toml(text) == tomllib.loads(text)


_NESTED: Any = []
for _ in range(100_000):
    _NESTED = [_NESTED]
_WIDE: Any = ["x" * 1000] * 10
for _ in range(12):
    _WIDE = [_WIDE] * 10


@pytest.mark.parametrize(("value", "start"), [
    ("x" * 10_000_000, "'xxx"), (b"x" * 10_000_000, "b'xxx"), (_NESTED, "[[[["), (_WIDE, "[[[["),
    (10**100_000, "a whole number"),
    ({"a": _WIDE}, "{'a': [["), ({n: n for n in range(10**6)}, "{0: 0, 1: 1"),
], ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "value")  # fmt: skip
def test_a_value_of_any_size_is_quoted_by_its_beginning(value: Any, start: str) -> None:
    quoted = brief(value)

    assert quoted.startswith(start)
    assert len(quoted) <= 103


@given(
    value=_VALUES
    | st.tuples(_SCALARS, _SCALARS)
    | st.tuples(_SCALARS)
    | st.just(())
    | st.sets(st.integers())
    | st.binary()
)
def test_a_small_value_is_quoted_as_python_writes_it(value: Any) -> None:
    written = repr(value) if value != set() else "{}"

    assert brief(value, 10_000) == written
