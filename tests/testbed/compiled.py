"""Our own compiled code, made before the tests: several would otherwise wait while each compiles it for itself."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.testbed.parts import run

_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 1800.0
_COMPILE = """
import ingest.partition, ingest.validate, processors.warm_up
for each in (ingest.validate, ingest.partition):
    each.warm_up()
processors.warm_up.main()
"""


def code() -> Path:
    """The folder that holds it."""
    run([sys.executable, "-c", _COMPILE], cwd=_ROOT, timeout_s=_TIMEOUT_S)
    where = "from schemas.jit import whole_marker; print(whole_marker().parent)"
    return Path(run([sys.executable, "-c", where], cwd=_ROOT, timeout_s=60).strip())
