"""Instructions of a program for 64-bit ARM, counted while QEMU runs it on any processor.

QEMU counts by a plugin, tests/native/count_instructions.c. The program does its work once and
then twice, in two runs: the difference is what the work takes, and the same in every run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compiled.native import ROOT, Case
from benchmarks.programs import run

EMULATOR, COMPILER = "qemu-aarch64", "aarch64-linux-gnu-g++"
PLUGIN = ROOT / "tests" / "native" / "count_instructions.c"
# For CMake, which looks for Python's headers nowhere while it compiles for another processor.
# Static, which OpenMP's library is not: there is no such system to load libraries from.
DEFINITIONS = {
    "Python_INCLUDE_DIR": sysconfig.get_path("include"),
    "CMAKE_SYSTEM_NAME": "Linux",
    "CMAKE_SYSTEM_PROCESSOR": "aarch64",
    "CMAKE_CXX_COMPILER": COMPILER,
    "CMAKE_EXE_LINKER_FLAGS": "-static",
    "CMAKE_DISABLE_FIND_PACKAGE_OpenMP": "ON",
}


def version() -> str | None:
    """QEMU's; None where there is none."""
    if shutil.which(EMULATOR) is None:
        return None
    said = re.search(r"version ([\d.]+)", run(EMULATOR, "--version"))
    return said and said[1]


def unavailable() -> str | None:
    """Why nothing can be counted on this machine, or None."""
    for program in (EMULATOR, COMPILER, "cc"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    number = version()
    if number is None or not 4 < float(".".join(number.split(".")[:2])) < 9:
        return f"this is QEMU {number}; the plugin is one for 4.2 to 8"
    if "-plugin" not in run(EMULATOR, "-help"):
        return f"this {EMULATOR} takes no plugins"
    return None


def instructions(program: Path, cases: Sequence[Case], folder: Path) -> list[int]:
    """How many each case takes."""
    plugin = folder / "count_instructions.so"
    run("cc", "-shared", "-fPIC", "-O2", str(PLUGIN), "-o", str(plugin))
    return [_executed(plugin, program, c, 2) - _executed(plugin, program, c, 1) for c in cases]


def _executed(plugin: Path, program: Path, case: Case, times: int) -> int:
    command = [EMULATOR, "-plugin", str(plugin), str(program), str(times), case.argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"^instructions: (\d+)$", done.stderr, re.MULTILINE)
    assert found is not None, done.stderr
    return int(found[1])
