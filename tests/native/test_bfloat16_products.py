"""The CPU kernels that multiply bfloat16 as such, where no processor at hand does: their portable
twins, built for this, against the float64 reference by the rule of docs/numerics.md.

What a processor of that kind computes the other tests see, whose bfloat16 it is.
"""

from __future__ import annotations

import os
import re
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

root, *isas = sys.argv[1:]
assert _cpu.build_info()["multiply_bfloat16"] == isas and _cpu.find_isa("") == isas[0]
done = 0
for operator in DIFFERENTIABLE:
    for case in CASES:
        tensors, settings = call(operator, case, torch.bfloat16)
        check_operator(operator, tensors, settings, "cpu")
        done += 1
print(done)
tests = ("wavenet_kernels/test_sampler.py", "native/test_bfloat16_kernels.py")
tests += ("native/test_cpu_kernels.py", "wavenet_kernels/test_streaming.py")
chosen = "weights_of_bfloat16 or test_bfloat16_kernels or (bfloat16 and not portable)"
options = ("-q", "-k", chosen, "--rootdir", root, "-p", "no:xdist", "-p", "no:cacheprovider")
sys.exit(pytest.main([*(root + "/tests/" + name for name in tests), *options]))
"""
TWINS = {"ON": ("portable", "avx512"), "amx": ("amx", "amx")}  # where the real ones are


@pytest.mark.parametrize("twin", TWINS)
def test_products_of_bfloat16_obey_the_rule(twin, build, root, tmp_path):
    name, real = TWINS[twin]
    if real in _cpu.build_info()["multiply_bfloat16"]:
        pytest.skip("this processor multiplies bfloat16 so: the other tests do")
    emulated = {"WAVENET_KERNELS_EMULATE_BFLOAT16": twin, "CMAKE_BUILD_TYPE": "Release"}
    build(tmp_path, "_cpu", **emulated)

    package = tmp_path / "wavenet_kernels"
    shutil.copytree(
        root / "wavenet_kernels", package, ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (module,) = (tmp_path / "modules").glob("_cpu*.so")
    shutil.copy(module, package)
    paths = [tmp_path, root / "tests" / "support", root, root / "python_api"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    isas = ["amx", "portable"] if name == "amx" else ["portable"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), *isas],
        env=environment,
        cwd=tmp_path,  # the first place where modules are looked for
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert int(done.stdout.split()[0]) > 50
    if name == "amx":  # tiles that multiply otherwise than they should are not taken
        said = "from wavenet_kernels import _cpu; print(_cpu.build_info()['usable_isas'])"
        other = subprocess.run(
            [sys.executable, "-c", said],
            env={**environment, "WAVENET_EMULATE_OTHER_AMX": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert other.stdout == "['portable']\n", other.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 50
