"""Requests get their answer while the validator is being compiled, and the same answer afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import threading
from ingest import validate
from schemas.signals import Signal

request = bytes.fromhex("0a08120612040a020102")
def ask():
    return validate.validate(Signal.TRACES, request, now_ns=0, oldest_ns=0, newest_ns=1)

first = ask()
assert not validate.is_compiled()
warming = threading.Thread(target=validate.warm_up)
warming.start()
answers = [ask()]
while warming.is_alive():
    answers.append(ask())
    warming.join(0.01)
validate.warm_up()
print(validate.is_compiled(), ask() == first, set(map(repr, answers)) == {repr(first)}, first.rejected)
"""


def run(cache: Path, root: Path = ROOT) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        timeout=200,
    )
    assert result.stderr == ""
    return result.stdout.strip()


def test_answers_do_not_wait_for_the_compiler_and_do_not_change_with_it(tmp_path: Path) -> None:
    assert run(tmp_path) == "True True True 1"
    compiled = sorted(tmp_path.rglob("validate_kernel.scan-*.nbc"))
    assert len(compiled) == 1
    stamp = compiled[0].stat().st_mtime_ns
    assert run(tmp_path) == "True True True 1"
    assert compiled[0].stat().st_mtime_ns == stamp


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert run(in_the_way / "cache") == "True True True 1"


def test_a_rule_that_changed_since_it_was_compiled_is_compiled_anew(tmp_path: Path) -> None:
    copied, cache = tmp_path / "copied", tmp_path / "cache"
    for package in ("ingest", "schemas"):
        shutil.copytree(ROOT / package, copied / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(cache, copied) == "True True True 1"
    rules = copied / "ingest" / "validate_walk.py"
    stamp = rules.stat().st_mtime_ns
    assert "FAULT_ID, FAULT_TEXT, FAULT_TIME = range(1, 4)" in rules.read_text()
    rules.write_text(rules.read_text().replace("FAULT_TIME = range(1, 4)", "FAULT_TIME = range(4, 7)"))
    os.utime(rules, ns=(stamp, stamp))
    assert run(cache, copied) == "True True True 1"
