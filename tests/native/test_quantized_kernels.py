"""The kernels of int8 that few processors can run, with their instructions emulated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import wavenet_kernels._cpu as _cpu
from benchmarks.compiled.native import ROOT
from benchmarks.programs import run

HERE = Path(__file__).parent
KERNELS = ROOT / "csrc" / "cpu" / "quantized_kernels.cpp"
DRIVERS = ("quantized.cpp", "memory.cpp")
AVX2 = ("-mavx2", "-mfma")
# What emulated_int8.h is told, and the flags of the real instructions, with theirs in assembly.
EMULATED = {
    "avxvnni": ("AVXVNNI", ("-mavxvnni",), "vpdpbusd"),
    "avx512": ("AVX512BW", ("-mavx512f", "-mavx512bw"), "vpmaddubsw"),
    "avx512vnni": ("AVX512VNNI", ("-mavx512f", "-mavx512bw", "-mavx512vnni"), "vpdpbusd"),
}

pytestmark = [
    pytest.mark.slow,  # compiles each kernel twice
    pytest.mark.skipif(
        "avx2" not in _cpu.build_info()["usable_isas"] or shutil.which("g++") is None,
        reason="no AVX2 to run them on, or no g++",
    ),
]


def compiled(isa: str, to: Path, *options: str) -> Path:
    """The kernels' object, as isas.cmake has it made."""
    run(
        *("g++", "-std=c++17", "-O3", "-Wno-psabi", "-ffp-contract=fast", "-fno-math-errno"),
        *("-fno-unswitch-loops", f"-I{ROOT / 'csrc'}", f"-DWAVENET_ISA={isa}"),
        *("-DWAVENET_REAL=float", *AVX2, *options, "-c", str(KERNELS), "-o", str(to)),
    )
    return to


def test_all_give_the_same_bits(tmp_path):
    """A convolution and a layer by each of them, against AVX2's and the definition."""
    header = str(HERE / "emulated_int8.h")
    objects = [compiled("avx2", tmp_path / "avx2.o")]
    objects += [
        compiled(isa, tmp_path / f"{isa}.o", f"-DEMULATE_{what}", "-include", header)
        for isa, (what, _, _) in EMULATED.items()
    ]
    program = tmp_path / "test"
    sources = [HERE / "quantized_kernels_test.cpp", *(KERNELS.parent / name for name in DRIVERS)]
    run(
        *("g++", "-std=c++17", "-O1", "-mfma", "-Wall", "-Wextra", "-Werror"),
        *(f"-I{ROOT / 'csrc'}", *map(str, sources), *map(str, objects), "-o", str(program)),
    )
    assert run(str(program)).endswith(" cases, 0 failures\n")


@pytest.mark.parametrize("isa", EMULATED)
def test_the_real_ones_are_made_of_the_instruction(tmp_path, isa):
    """That the emulated intrinsic is what the compiler makes the shipped kernel of."""
    _, flags, instruction = EMULATED[isa]
    try:
        assembly = compiled(isa, tmp_path / "kernels.s", *flags, "-S")
    except RuntimeError as failed:
        if "unrecognized command" in str(failed):
            pytest.skip(f"this g++ has no {flags[-1]}")
        raise
    assert assembly.read_text().count(instruction) > 40  # some for each sum of a block
