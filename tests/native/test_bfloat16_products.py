"""The CPU kernels that multiply bfloat16 as such, where no processor at hand does: their portable
twin, built for this, against the float64 reference by the rule of docs/numerics.md.

What a processor of that kind computes the other tests see, whose bfloat16 it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wavenet_kernels._cpu as _cpu
from benchmarks.programs import cmake, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAM = """
import pytest, sys, torch
from numerics import check_operator
from operator_cases import CASES, DIFFERENTIABLE, call
from wavenet_kernels import _cpu

assert _cpu.build_info()["multiply_bfloat16"] == ["portable"]
done = 0
for operator in DIFFERENTIABLE:
    for case in CASES:
        tensors, settings = call(operator, case, torch.bfloat16)
        check_operator(operator, tensors, settings, "cpu")
        done += 1
print(done)
sampler = sys.argv[1] + "/tests/wavenet_kernels/test_sampler.py"
chosen = ("-k", "weights_of_bfloat16", "--rootdir", sys.argv[1], "-p", "no:xdist")
sys.exit(pytest.main([sampler, *chosen]))
"""
HAS_THEM = bool(_cpu.build_info()["multiply_bfloat16"])


@pytest.mark.skipif(HAS_THEM, reason="this processor multiplies bfloat16: the other tests do")
def test_products_of_bfloat16_obey_the_rule(tmp_path):
    definitions = {
        "Python_EXECUTABLE": sys.executable,
        "WAVENET_KERNELS_CUDA": "0",
        "WAVENET_KERNELS_OUTPUT_DIR": str(tmp_path / "modules"),
        "WAVENET_KERNELS_EMULATE_BFLOAT16": "ON",
        "CMAKE_BUILD_TYPE": "Release",
    }
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    run(cmake(), "-S", str(ROOT), "-B", str(tmp_path), *options)
    run(cmake(), "--build", str(tmp_path), "--target", "_cpu")

    package = tmp_path / "wavenet_kernels"
    shutil.copytree(
        ROOT / "wavenet_kernels", package, ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (module,) = (tmp_path / "modules").glob("_cpu*.so")
    shutil.copy(module, package)
    paths = [tmp_path, ROOT / "tests" / "support", ROOT]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        cwd=tmp_path,  # the first place where modules are looked for
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert int(done.stdout.split()[0]) > 50
    assert "4 passed" in done.stdout
