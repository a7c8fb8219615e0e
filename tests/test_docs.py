"""The documents say what the code does: every command, setting and metric, and no link that leads nowhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from schemas.telemetry import CATALOGUE
from sluiceway.config import SETTINGS
from sluiceway.reference import documents, every_command

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted({*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md"), *ROOT.glob("*.md")})
COMMANDS = [" ".join(("sluiceway", *path)) for path, _ in every_command()]
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_COMMAND_IN_TEXT = re.compile(r"\bsluiceway ([a-z]+(?:-[a-z]+)*(?: [a-z]+)?)")


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_generated_document_is_what_the_code_says(path: Path) -> None:
    assert path.read_text() == documents()[path], "run `make golden`"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.dotted)
def test_every_setting_is_documented(setting) -> None:  # type: ignore[no-untyped-def]
    text = (DOCS / "configuration.md").read_text()

    assert f"| `{setting.dotted}` | `{setting.env}` |" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"\n## {command}\n" in (DOCS / "cli.md").read_text()


@pytest.mark.parametrize("name", [spec.name for spec in CATALOGUE.values()])
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "self-telemetry.md").read_text()


@pytest.mark.parametrize(("path", "command"), list(every_command()), ids=COMMANDS)
def test_every_command_that_does_something_shows_an_example(path: tuple[str, ...], command) -> None:  # type: ignore[no-untyped-def]
    shown = f"`sluiceway {' '.join(path)}"

    assert hasattr(command, "commands") or shown in command.help


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = [target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_in_code_exists(page: Path) -> None:
    code = re.findall(r"`([^`\n]+)`|^ {4}(.+)$", page.read_text(), re.MULTILINE)
    known = {" ".join(path) for path, _ in every_command()}
    named = {match for pair in code for match in _COMMAND_IN_TEXT.findall("".join(pair))}

    assert {name for name in named if name not in known and name.split()[0] not in known} == set()


_RESILIENCE = re.compile(r"^\| [^|]+ \| `([a-z_.]+)` \| `([^`]*)` \| (?:`([a-z_]+)` )?\|$", re.MULTILINE)


def test_the_page_on_resilience_states_settings_with_their_defaults_and_metrics_that_exist() -> None:
    stated = _RESILIENCE.findall((DOCS / "resilience.md").read_text())
    defaults = {setting.dotted: str(setting.default) for setting in SETTINGS}

    assert {(name, default) for name, default, _ in stated} <= set(defaults.items())
    assert {metric for *_, metric in stated if metric} <= set(CATALOGUE)


@pytest.mark.parametrize("word", ["circuit", "retry", "share", "tenant_"])
def test_the_page_on_resilience_leaves_no_setting_of_its_kind_out(word: str) -> None:
    stated = {name for name, *_ in _RESILIENCE.findall((DOCS / "resilience.md").read_text())}
    settings = {s.dotted for s in SETTINGS if s.path[0] in ("ingest", "batch") and word in s.path[-1]}

    assert settings - stated - {"ingest.tenant_header"} == set()


def test_the_page_on_resilience_names_every_metric_of_circuits_and_budgets() -> None:
    text = (DOCS / "resilience.md").read_text()

    assert [name for name in CATALOGUE if re.search("circuit|budget", name) and f"`{name}`" not in text] == []


def test_every_target_of_the_makefile_is_listed_by_help() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE))
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, check=True, text=True).stdout

    assert {line.split()[1] for line in listed.splitlines()} == phony
