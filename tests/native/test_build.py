"""CMake alone, and what the compiled modules say of themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wavenet_kernels
import wavenet_kernels._cpu as _cpu

pytestmark = pytest.mark.slow


def test_cpu_build_info():
    info = _cpu.build_info()
    assert info["version"] == wavenet_kernels.__version__
    assert info["openmp"]
    assert info["isas"][-1] == "portable"
    assert set(info["usable_isas"]) <= set(info["isas"])
    assert _cpu.find_isa("") == info["usable_isas"][0]
    flags = re.findall(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    has = {"amx": "amx_bf16", "avx512": "avx512_bf16"}
    multiply = [
        isa for isa in has if flags and has[isa] in flags[0].split() and isa in info["isas"]
    ]
    assert info["multiply_bfloat16"] == multiply


@pytest.mark.parametrize("value", ["yes", "2", "AUTO"])
def test_an_invalid_switch_is_one_sentence(configure, tmp_path, value):
    result = configure(tmp_path, WAVENET_KERNELS_CUDA=value)
    assert result.returncode != 0
    assert f"WAVENET_KERNELS_CUDA is '{value}'; accepted are auto, 0 and 1" in result.stderr


def test_an_invalid_architecture_is_named(configure, tmp_path):
    result = configure(tmp_path, WAVENET_KERNELS_CUDA_ARCHS="80;hopper")
    assert result.returncode != 0
    assert "WAVENET_KERNELS_CUDA_ARCHS holds 'hopper'" in result.stderr


def test_cmake_alone_builds_a_module_that_imports(configure, cmake, tmp_path):
    # Without optimisation, which takes most of the time: test_wheel.py has it, and warnings of it.
    configured = configure(tmp_path, WAVENET_KERNELS_CUDA="0", CMAKE_BUILD_TYPE="Debug")
    assert configured.returncode == 0, configured.stderr
    built = subprocess.run(
        [cmake, "--build", str(tmp_path), "--parallel", "2"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout
    assert "warning" not in built.stdout + built.stderr
    (module,) = (tmp_path / "modules").iterdir()
    assert module.name.startswith("_cpu.")
    code = "import _cpu; assert _cpu.find_isa('portable') == 'portable'"
    subprocess.run([sys.executable, "-c", code], cwd=module.parent, check=True)


def test_no_torch_in_the_compiled_sources(root):
    for path in (root / "csrc").rglob("*.*"):
        for line in path.read_text().splitlines():
            if line.lstrip().startswith("#include"):
                assert "torch" not in line and "ATen" not in line, path


def test_compiled_modules_are_imported_by_backends_and_the_sampling_loop_alone(root):
    importers = {"_cpu": set(), "_cuda": set()}
    for path in [*root.glob("wavenet_kernels/**/*.py"), *root.glob("python_api/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            for name in [*names, getattr(node, "module", None) or ""]:
                last = name.rpartition(".")[2]
                if isinstance(node, (ast.Import, ast.ImportFrom)) and last in importers:
                    importers[last].add(str(path.relative_to(root)))
    assert importers == {
        "_cpu": {"wavenet_kernels/backends/cpu.py", "wavenet_kernels/sampling/loops.py"},
        "_cuda": {"wavenet_kernels/backends/cuda.py"},
    }
