"""The command line itself: help, exit codes, one line for an error, no traceback unless asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError, StoreUnavailableError
from sluiceway import cli
from sluiceway.reference import every_command
from tests.command_line import run

COMMANDS = [path for path, _ in every_command()]


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def app(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(("sluiceway", *path)))
def test_every_command_has_help_and_tells_it(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*path, "--help") == 0
    assert f"Usage: {' '.join(('sluiceway', *path))}" in capsys.readouterr().out


def test_help_imports_neither_engine_nor_compiler() -> None:
    slow = {"numba", "clickhouse_connect", "grpc", "chdb"}
    code = f"import sys, sluiceway.cli; print(sorted({slow} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)})  # fmt: skip

    assert shown.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "sluiceway: No such command 'nope'; see --help"),
        (["query"], "sluiceway: Missing argument 'sql'; see --help"),
        (["up", "--nope"], "sluiceway: No such option: --nope; see --help"),
        (["config", "show", "--config", "absent.yaml"],
         "sluiceway: config file: must be readable (No such file or directory); got 'absent.yaml'"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line_on_stderr_and_exit_code_two(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr() == ("", line + "\n")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["audit", "--timeout", "soon"], "Invalid value for '--timeout'"),
        (["deadletters", "list", "--limit", "0"], "Invalid value for '--limit'"),
        (["query", "SELECT 1", "--format", "xml"], "Invalid value for '--format'"),
        (["demo", "--seconds", "-1"], "Invalid value for '--seconds'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_in_one_line(
    arguments: list[str], start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"sluiceway: {start}")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (StoreUnavailableError("the store\nis away"), ["sluiceway: the store is away"]),
        (ConfigurationError("a: wrong\nb: wrong"), ["sluiceway: a: wrong", "sluiceway: b: wrong"]),
        (PermissionError(13, "Permission denied", "x"), ["sluiceway: [Errno 13] Permission denied: 'x'"]),
        (ZeroDivisionError("division\nby zero"),
         ["sluiceway: internal error: ZeroDivisionError: division by zero (--debug shows where)"]),
    ],
)  # fmt: skip
def test_errors_are_told_without_a_traceback(
    error: Exception, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error)

    assert run("up") == 2
    assert capsys.readouterr().err.splitlines() == lines


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", "up"])


def test_ctrl_c_ends_with_its_own_exit_code_and_without_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    assert run("up") == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    shown = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m sluiceway config show | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False, cwd=Path(cli.__file__).parent.parent,
    )  # fmt: skip

    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "# file: none\n", "")


def test_version_names_what_the_pipeline_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["sluiceway", "chdb-core", "clickhouse-connect", "grpcio", "numba", "pyarrow", "python"]


def test_config_validate_says_what_it_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sluiceway.toml").write_text('data_dir = "x"\n')
    monkeypatch.setenv("SLUICEWAY_LOG__MAX_BYTES", "100000000")

    assert run("config", "validate") == 0
    assert capsys.readouterr().out == f"valid: {tmp_path / 'sluiceway.toml'}, 1 settings from environment\n"


def test_config_validate_refuses_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "sluiceway.toml").write_text("data_dri = 1\n")

    assert run("config", "validate") == 2
    refusal = f"no setting has this name, did you mean data_dir; got 1 from {tmp_path / 'sluiceway.toml'}"
    assert capsys.readouterr().err == f"sluiceway: data_dri: {refusal}\n"
