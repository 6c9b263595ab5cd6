"""The CPU kernels in a program of their own, built and run under callgrind.

It is tests/native/cpu_kernels_count.cpp, compiled as the shipped module is, for one instruction
set.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wavenet_kernels._cpu as _cpu
from benchmarks.operators.workloads import Workload
from benchmarks.programs import cmake, run

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "cpu_kernels_count"
COUNTED = "counted"  # the function around what a case is about

# Where the C library may fill and copy with string instructions, each byte counts as an
# instruction on some processors and not on others.
_NO_STRING_INSTRUCTIONS = ":".join(
    f"glibc.cpu.x86_{name}=0x10000000"
    for name in ("rep_movsb_threshold", "rep_stosb_threshold", "non_temporal_threshold")
)


@dataclass(frozen=True)
class Case:
    """One pass of a workload's stack on one clip, as PROGRAM names them."""

    name: str
    what: str
    workload: Workload
    dtype: str = "float32"
    fast: bool = True

    @property
    def argument(self) -> str:
        """As the program reads it."""
        of = self.workload
        sizes = (of.residual, of.dilation_channels, of.skip, of.taps, of.time)
        how = (self.what, self.dtype, "fast" if self.fast else "plain", of.padding)
        return ":".join(map(str, (*how, *sizes, ",".join(map(str, of.dilations)))))


def best_isa() -> str:
    """The best instruction set here of those that have kernels of float32: AMX has none."""
    isa: str = _cpu.find_isa("")
    return "avx512" if isa == "amx" else isa


def configure(folder: Path, isa: str, flags: str = "", **more: str) -> None:
    """CMake on the tree, with more definitions; `flags` are added to those of the shipped build."""
    definitions = {
        "Python_EXECUTABLE": sys.executable,
        "WAVENET_KERNELS_CUDA": "0",
        "WAVENET_KERNELS_COUNT_ISA": isa,
        "WAVENET_KERNELS_OUTPUT_DIR": str(folder / "modules"),
        "CMAKE_CXX_FLAGS": flags,
        **more,
    }
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    run(cmake(), "-S", str(ROOT), "-B", str(folder), *options)


def compiler(folder: Path) -> tuple[str, str]:
    """Name and version of the compiler that was configured, e.g. ("GNU", "12.2.0")."""
    (found,) = (folder / "CMakeFiles").glob("*/CMakeCXXCompiler.cmake")
    said = dict(re.findall(r'set\(CMAKE_CXX_COMPILER_(ID|VERSION) "(.*)"\)', found.read_text()))
    return said["ID"], said["VERSION"]


def build(folder: Path, parallel: int = 1) -> Path:
    """The program."""
    run(cmake(), "--build", str(folder), "--target", PROGRAM, "--parallel", str(parallel))
    return folder / PROGRAM


def valgrind_version() -> str | None:
    """None where there is no valgrind."""
    if shutil.which("valgrind") is None:
        return None
    return run("valgrind", "--version").strip().removeprefix("valgrind-")


def callgrind(program: Path, cases: Sequence[Case], folder: Path, *options: str) -> list[Path]:
    """Runs the cases, each once; a file of callgrind's for each."""
    out = folder / "callgrind"
    run(
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={out}",
        f"--toggle-collect={COUNTED}",
        f"--dump-after={COUNTED}",
        *options,
        *(str(program), "1", *(case.argument for case in cases)),
        GLIBC_TUNABLES=_NO_STRING_INSTRUCTIONS,
    )
    return [out.with_suffix(f".{number + 1}") for number in range(len(cases))]


def instructions(profile: Path) -> int:
    """How many a file of callgrind's counts."""
    found = re.search(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)
    assert found is not None, profile
    return int(found[1])
