"""The CUDA kernels compile for every default chip without spills; this needs nvcc, not a GPU."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
SOURCES = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
DEFAULT_ARCHS = re.search(
    r"foreach\(arch (\d+(?: \d+)*)\)", (ROOT / "csrc" / "cuda.cmake").read_text()
)

needs_nvcc = pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")


def test_there_is_something_to_compile():
    assert SOURCES and DEFAULT_ARCHS is not None


@needs_nvcc
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("arch", DEFAULT_ARCHS[1].split() if DEFAULT_ARCHS else [])
def test_no_kernel_spills(source, arch, tmp_path):
    command = [NVCC, "-std=c++17", "-O3", f"-arch=sm_{arch}", "-cubin", "-Xptxas=-v"]
    result = subprocess.run(
        [*command, "-I", str(ROOT / "csrc"), str(source), "-o", str(tmp_path / "out.cubin")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    kernels = re.findall(r"Compiling entry function '(\w+)'", result.stderr)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", result.stderr)
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", result.stderr)]
    assert kernels and len(kernels) == len(registers) == len(spills)
    assert set(spills) == {("0", "0")}
    # 256 threads of a block must fit at least twice into the 65,536 registers of a multiprocessor.
    assert max(registers) <= 128


@pytest.mark.skipif(
    importlib.util.find_spec("wavenet_kernels._cuda") is None, reason="built without CUDA"
)
def test_the_module_imports_anywhere_and_says_what_it_is_for():
    import wavenet_kernels._cuda as _cuda

    info = _cuda.build_info()
    assert re.fullmatch(r"(\d+[af]?(-real)?|native)( \d+[af]?(-real)?)*", info["archs"])
    assert re.fullmatch(r"\d+\.\d+", info["cudart"])
    assert _cuda.device_count() >= 0
