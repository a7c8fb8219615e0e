"""Pages of a library's file that are dropped after a start: less is resident, and the code still runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_SCRIPT = """
import json, re, sys
from pathlib import Path
import llvmlite.binding as llvm
from sluiceway.embedded.file_pages import drop

def resident():
    kib, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-", line):
            ours = "libllvmlite" in line
        elif ours and line.startswith("Rss:"):
            kib += int(line.split()[1])
    return kib

def compile():
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    module = llvm.parse_assembly("define i32 @f() {\\nret i32 42\\n}")
    with llvm.create_mcjit_compiler(module, machine) as engine:
        engine.finalize_object()
        import ctypes
        return ctypes.CFUNCTYPE(ctypes.c_int32)(engine.get_function_address("f"))()

answers, before = [compile()], resident()
mapped, after = drop("libllvmlite."), resident()
answers.append(compile())
print(json.dumps([answers, before, after, mapped, drop("no such library")]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages are a file's")
def test_pages_are_dropped_and_come_back_when_they_are_run() -> None:
    answers, before_kib, after_kib, mapped, nothing = json.loads(
        subprocess.check_output([sys.executable, "-c", _SCRIPT], timeout=120)
    )
    assert answers == [42, 42]
    assert mapped > before_kib * 1024
    assert after_kib < before_kib / 2
    assert nothing == 0
