"""Nothing of the kernels for one instruction set can be taken for another's.

The linker keeps one copy of an inline function or template for the whole program. Made of AVX-512
in one object and needed by a driver that runs everywhere, that copy would end a program on
processors without it. So whatever is shared by name in a kernel's object carries the instruction
set's namespace; compiled without inlining, which hides such functions otherwise.
"""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.programs import run

pytestmark = pytest.mark.slow  # all kernels are compiled


def shared(of_object: Path) -> set[str]:
    """What the linker keeps one copy of: weak and unique symbols, demangled."""
    lines = (line.split(maxsplit=2) for line in run("nm", "-C", str(of_object)).splitlines())
    return {name for *_, kind, name in lines if kind in "WVu"}


def test_kernels_share_no_function(build, tmp_path):
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    build(tmp_path, "wavenet_cpu", CMAKE_BUILD_TYPE="Debug", CMAKE_CXX_FLAGS_DEBUG="-O0")
    found = {}
    for folder in (tmp_path / "CMakeFiles").glob("wavenet_cpu_*.dir"):
        isa, real = re.fullmatch(
            r"wavenet_cpu_(\w+)_(float|double|int8)\.dir", folder.name
        ).groups()
        (compiled,) = folder.rglob("*.o")
        names = shared(compiled)
        here = f"wavenet::cpu::in_{isa}_{real}::"
        if real == "int8":
            here = f"wavenet::cpu::quantized_in_{isa}::"
        found[f"{isa} {real}"] = [name for name in names if here not in name]
        assert len(names) > 10, f"{compiled}: {names}"  # it is looked at, and not inlined
    assert not any(found.values()), found
    if platform.machine() == "x86_64":
        assert {"portable float", "avx2 double", "avx512 int8"} <= found.keys()
