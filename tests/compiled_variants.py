"""Run as a program: warm up as the pipeline does, decode arbitrary batches, and say what was compiled and when.

Prints a JSON object: `after_warm_up` and `after_batches` count the compiled variants of each function, `misses` those
that the on-disk cache did not hold, `digest` is of all blocks made.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import sys

import numpy as np
from numba.core.registry import CPUDispatcher

import processors
import schemas
from processors import warm_up, write
from processors.decode import decode
from processors.guard.budgets import Budgets, Window
from processors.guard.fold import fold
from processors.guard.redact import redact
from processors.guard.rules import RedactionRule
from processors.guard.series import points_of
from processors.settings import BatchSettings
from schemas.columns import BY_NAME
from schemas.signals import Signal
from tests.strategies import record_of, records_from

_RULES = [
    RedactionRule(name="mask", action="mask", attributes=("k*",)),
    RedactionRule(name="hash", action="hash", pattern="[a-z]"),
    RedactionRule(name="drop", action="drop", attributes=("http",)),
]


def dispatchers() -> dict[str, CPUDispatcher]:
    """All compiled functions of the decoder and the encoder, by full name."""
    found = {}
    for package in (schemas, processors):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("schemas", "processors"):
            for attribute, value in vars(module).items():
                if isinstance(value, CPUDispatcher) and value.py_func.__module__ == name:
                    found[f"{name}.{attribute}"] = value
    return found


def batches() -> hashlib._Hash:
    """Decode and encode what comes: empty, small, of one tenant and of many, with faults, and large."""
    digest = hashlib.sha256()
    for signal in Signal:
        writer = write.BatchWriter(signal, None, None, BatchSettings())  # type: ignore[arg-type]
        many = [record for seed in range(40) for record in records_from(seed, signal)]
        for records in ([], [record_of(signal, b"")], [record_of(signal, b"\x0a\x7f")], many[:1], many, many * 30):
            decoded = decode(signal, records, writer._arena)
            redact(decoded, _RULES, b"a key of tests")
            if signal is Signal.METRICS:
                for name, rows in decoded.tables.items():
                    points = points_of(rows)
                    decision = Window().decide({name: points}, Budgets(3, 20, 50))
                    levels = np.full(int(decision.folded[name].sum()), "metric")
                    decoded.tables[name] = fold(rows, decision.folded[name], levels)
            for name, batch in decoded.tables.items():
                for part in (batch, batch.slice(1, 3)):
                    digest.update(writer._encode(part, BY_NAME[name]))
    return digest


def main() -> None:
    """See the module."""
    for _ in warm_up.stages():
        pass
    functions = dispatchers()
    before = {name: len(function.signatures) for name, function in functions.items()}
    digest = batches()
    print(
        json.dumps({
            "after_warm_up": before,
            "after_batches": {name: len(function.signatures) for name, function in functions.items()},
            "misses": sum(sum(function.stats.cache_misses.values()) for function in functions.values()),
            "digest": digest.hexdigest(),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
