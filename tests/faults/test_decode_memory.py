"""Hostile records, whose few bytes each ask for a row, an entry or a group, stay within a bound of memory."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import hostile_records

# A batch of ordinary records takes some 250 MB; a row is at least 300 bytes, of which one record can hold two million.
BOUND_MB = 800


def test_hostile_records_of_four_mebibytes_are_decoded_within_the_bound() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.hostile_records", "4"], capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout)
    assert found.keys() == hostile_records.cases().keys()
    assert {name: grown for name, (grown, _) in found.items() if grown > BOUND_MB} == {}
    assert {name for name, (_, kept) in found.items() if kept == 4} >= {"empty resources", "distinct keys"}
    assert found["empty spans"][1] == 1
