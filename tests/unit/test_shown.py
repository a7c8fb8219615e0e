"""Text of telemetry as it is shown: for every character that acts, nothing acts, and what it was can be told."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Callable

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dashboards.settings import ViewerSettings
from dashboards.viewer import app
from schemas.documents import dump_yaml, parse_yaml
from schemas.shown import directions_shown, json_exact, shown, shown_lines
from sluiceway import cli
from sluiceway.commands import output
from tests.command_line import run

CATEGORIES = ("Cc", "Cf", "Zl", "Zp")
EVERY = [chr(code) for code in range(sys.maxunicode + 1)]
ACTING = [each for each in EVERY if unicodedata.category(each) in CATEGORIES]
_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
TURNING = [each for each in ACTING if unicodedata.bidirectional(each) in _DIRECTIONS]
_TEXT = st.text(st.sampled_from(ACTING) | st.characters(codec="utf-8"), max_size=40)


def acting(text: str, allowed: str = "") -> list[str]:
    """Characters that act, by another list than the product's."""
    return [
        each for each in text if each not in allowed and unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp", "Cs")
    ]


@pytest.mark.parametrize("show", [shown, shown_lines])
def test_every_acting_character_is_shown_by_its_code(show: Callable[[str], str]) -> None:
    kept = "" if show is shown else "\n\t"
    for character in ACTING:
        if character in kept:
            assert show(character) == character
            continue
        escape = show(f"a{character}b")[1:-1]
        assert acting(escape) == []
        assert escape.encode("ascii").decode("unicode_escape") == character


def test_no_other_character_is_changed() -> None:
    rest = "".join(each for each in EVERY if unicodedata.category(each) not in (*CATEGORIES, "Cs", "Cn"))

    assert (shown(rest), shown_lines(rest), json_exact(rest), directions_shown(rest)) == (rest,) * 4


def test_all_that_turns_the_direction_is_shown_for_programs_too() -> None:
    assert len(TURNING) == 9
    for character in TURNING:
        assert directions_shown(f"a{character}b") == f"a\\u{ord(character):04x}b"
    assert directions_shown("\x1b\x00\x9b\n\u200d\ufeff") == "\x1b\x00\x9b\n\u200d\ufeff"


@given(text=_TEXT)
def test_json_says_the_same_in_characters_that_do_not_act(text: str) -> None:
    for written in (json.dumps({text: [text]}, ensure_ascii=False), json.dumps({text: [text]}, indent=1)):
        safe = json_exact(written)

        assert acting(safe, "\n") == []
        assert json.loads(safe) == {text: [text]}


@given(text=_TEXT)
def test_yaml_says_the_same_in_characters_that_do_not_act(text: str) -> None:
    written = dump_yaml({text: [text]}, sort_keys=False)

    assert acting(written, "\n") == []
    assert yaml.safe_load(written) == {text: [text]}
    assert parse_yaml(written)[0].values == {text: [text]}


@given(text=_TEXT)
def test_pages_show_text_and_keep_what_comes_back(text: str) -> None:
    page = _template("<p title='{{ x }}'>{{ x }}</p>{{ {'n': [x]} | shown_values | tojson }}").render(x=text)
    kept = _template("{{ x | exact }}").render(x=text)

    assert acting(page, "\n\t") == []
    assert kept.count("<") == 0
    assert jinja2.filters.Markup(kept).unescape() == text


def _template(text: str) -> jinja2.Template:
    pages = app.Pages(ViewerSettings(), None, None, None, app.Alerting(), ())  # type: ignore[arg-type]
    return pages._templates.from_string(text)


FORMATS = ["JSONEachRow", "JSON", "CSVWithNames", "TSV", "Vertical", "Native", "Parquet"]
_BYTES = "".join(ACTING).encode() + b"\xff\xc3\x9b caf\xc3\xa9"


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 16])
def test_an_answer_on_a_terminal_has_nothing_that_acts(
    form: str, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _copied(_BYTES, form, chunk_bytes, monkeypatch, to_terminal=True).decode()

    # JSON's own line ends are of the format.
    assert acting(text, "\n\t\r" if form.startswith("JSON") else "\n\t") == []
    assert "café" in text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 16])
def test_an_answer_to_a_program_is_exact(form: str, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = _BYTES if not form.startswith("JSON") else json.dumps("".join(ACTING), ensure_ascii=False).encode()
    got = _copied(sent, form, chunk_bytes, monkeypatch, to_terminal=False)

    if form in ("Native", "Parquet"):
        assert got == sent
    elif form.startswith("JSON"):
        assert json.loads(got) == "".join(ACTING)
        assert acting(got.decode()) == []
    else:
        for character in TURNING:
            assert character.encode() not in got
        assert got.decode("utf-8", "surrogateescape").startswith("".join(ACTING[:65]))
        assert got.endswith(b"\xff\xc3\x9b caf\xc3\xa9")


def _copied(sent: bytes, form: str, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch, *, to_terminal: bool) -> bytes:
    out = io.BytesIO()
    monkeypatch.setattr(output, "_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(sys, "stdout", _Terminal(out) if to_terminal else io.TextIOWrapper(out))
    output.copy_answer(io.BytesIO(sent), form, to_terminal=to_terminal)
    return out.getvalue()


def test_tables_lines_and_errors_have_nothing_that_acts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = "".join(ACTING)
    output.print_table([every], [[every]])
    output.say(every)

    def failing(*_: object, **__: object) -> None:
        raise OSError(every)

    monkeypatch.setattr(cli, "app", failing)
    assert run("query", "SELECT 1") == 2
    shown_all = capsys.readouterr()
    assert acting(shown_all.out + shown_all.err, "\n\t") == []
    assert "\\u202e" in shown_all.out
    assert "\\u202e" in shown_all.err
