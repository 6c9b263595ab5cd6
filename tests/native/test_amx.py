"""Tiles of AMX: who may use them, and what code does. (What they compute: test_bfloat16_products.py
with the instructions emulated.)
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks.compiled.native import ROOT
from benchmarks.programs import run

CPU = ROOT / "csrc" / "cpu"
FLAGS = (
    *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mavx512bf16"),
    *("-DWAVENET_PAIRS=1", "-DWAVENET_REAL=float"),
)
MAY = ("-mamx-tile", "-mamx-bf16")
INSTRUCTIONS = {"ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored", "tdpbf16ps"}

pytestmark = pytest.mark.skipif(
    None in (shutil.which("g++"), shutil.which("objdump")), reason="no g++ and binutils"
)


def test_permission(tmp_path):
    """That of this process too: in `flags` Linux names what it saves, and what it then permits."""
    cpuinfo = Path("/proc/cpuinfo")
    said = cpuinfo.read_text() if cpuinfo.exists() else ""
    here = re.search(r"^flags\s*:.* amx_bf16 ", said, re.MULTILINE) is not None
    program = tmp_path / "permission"
    sources = (ROOT / "tests" / "native" / "amx_permission_test.cpp", CPU / "amx_permission.cpp")
    run(
        *("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"),
        *(*map(str, sources), "-o", str(program)),
    )
    assert run(str(program), "here" if here else "not here") == "0 failures\n"


def functions_with_tiles(isa: str, to: Path, *flags: str) -> dict[str, list[str]]:
    """The instructions of AMX in each function of the kernels, in order."""
    try:
        run(
            *("g++", "-std=c++17", "-O2", "-ffp-contract=fast", "-fno-math-errno", *FLAGS, *flags),
            *(f"-I{ROOT / 'csrc'}", f"-DWAVENET_ISA={isa}"),
            *("-c", str(CPU / "isa.cpp"), "-o", str(to)),
        )
    except RuntimeError as failed:
        if "unrecognized command" in str(failed):
            pytest.skip(f"this g++ has no {flags[-1]}")
        raise
    found: dict[str, list[str]] = {}
    function = ""
    for line in run("objdump", "-dC", "--no-show-raw-insn", str(to)).splitlines():
        if start := re.fullmatch(r"[0-9a-f]+ <(.*)>:", line):
            function = re.sub(r" \[clone .*", "", start[1])  # what unwinds the stack lies apart
        elif code := re.match(r"\s+[0-9a-f]+:\s+(\w+)", line):
            if "tile" in code[1] or "%tmm" in line:
                found.setdefault(function, []).append(code[1])
    return found


@pytest.mark.slow
def test_tiles_are_used_where_they_were_configured_and_released(tmp_path):
    found = functions_with_tiles("amx", tmp_path / "amx.o", "-DWAVENET_TILES=1", *MAY)
    products = {name: code for name, code in found.items() if "tdpbf16ps" in code}
    assert {name for instructions in found.values() for name in instructions} == INSTRUCTIONS
    assert all(re.search(r"\b(accumulate|outer)_tiles<", name) for name in products), products
    # Of one and two blocks of rows by one and two vectors of columns, each: 1 + 2 + 2 + 4 products.
    assert sum(code.count("tdpbf16ps") for code in products.values()) == 18
    assert sum(code.count("tileloadd") for code in products.values()) == 2 * (2 + 3 + 3 + 4)
    # Whoever configures releases, and is one of the doors into the kernels, or tries tiles out.
    doors = {name for name, code in found.items() if "ldtilecfg" in code}
    assert doors == {name for name, code in found.items() if "tilerelease" in code}
    names = {re.sub(r".*::(\w+)\(.*", r"\1", name) for name in doors}
    assert names == {"tile", "backward_tile", "backward_x_tile", "tiles_agree"}, doors


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), MAY], ids=["", "may"])
def test_kernels_without_tiles_have_none(tmp_path, flags):
    """Nor where the compiler may use them, as with -march=native: nobody has asked the system."""
    assert functions_with_tiles("avx512bf16", tmp_path / "avx512bf16.o", *flags) == {}
