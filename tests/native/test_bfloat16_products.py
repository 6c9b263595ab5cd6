"""The CPU kernels that multiply bfloat16 as such, where no processor at hand does: their portable
twin, built for this, against the float64 reference by the rule of docs/numerics.md.

What a processor of that kind computes the other tests see, whose bfloat16 it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

import wavenet_kernels._cpu as _cpu

pytestmark = pytest.mark.slow

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
def test_products_of_bfloat16_obey_the_rule(build, root, tmp_path):
    emulated = {"WAVENET_KERNELS_EMULATE_BFLOAT16": "ON", "CMAKE_BUILD_TYPE": "Release"}
    build(tmp_path, "_cpu", **emulated)

    package = tmp_path / "wavenet_kernels"
    shutil.copytree(
        root / "wavenet_kernels", package, ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (module,) = (tmp_path / "modules").glob("_cpu*.so")
    shutil.copy(module, package)
    paths = [tmp_path, root / "tests" / "support", root]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        cwd=tmp_path,  # the first place where modules are looked for
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert int(done.stdout.split()[0]) > 50
    assert "4 passed" in done.stdout
