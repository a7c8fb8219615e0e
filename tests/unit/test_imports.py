"""What a process of the pipeline loads: each import is memory in every process and time at every start."""

from __future__ import annotations

import json
import subprocess
import sys

NOT_NEEDED = ("pandas", "scipy", "chdb")


def test_the_pipeline_loads_no_library_that_only_comes_along() -> None:
    code = """
import json, sys
import sluiceway.pipeline
loaded = list(sys.modules)
import pandas, pyarrow
assert pyarrow.array([1, 2]).to_pylist() == [1, 2]
print(json.dumps(loaded))
"""
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], timeout=120))
    assert "pyarrow" in loaded
    assert [name for name in NOT_NEEDED if name in loaded] == []
