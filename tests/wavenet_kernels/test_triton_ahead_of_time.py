"""Every Triton kernel compiles for every supported chip with no GPU, spills nothing, and fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

# In a process of its own: this one may have Triton's interpreter switched on.
PROGRAM = r"""
import json, pathlib, re, subprocess, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from wavenet_kernels.backends.triton import gate

def compiled(kernel, dtype, channels, has_cond, arch):
    block_t, block_d = gate.tile_sizes(channels)
    signature = {}
    for name in kernel.arg_names:
        if name.endswith("_ptr"):
            signature[name] = f"*{dtype}"
        elif name in ("HAS_COND", "BLOCK_T", "BLOCK_D"):
            signature[name] = "constexpr"
        else:
            signature[name] = "i64" if name.endswith(("_batch", "_channel", "_time")) else "i32"
    constants = {"HAS_COND": has_cond, "BLOCK_T": block_t, "BLOCK_D": block_d}
    source = ASTSource(kernel, signature, constants)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32))

def resources(cubin):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        command = [tool, "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(n) for name, n in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}

rows = []
for arch in (80, 90, 100):
    for kernel in (gate.forward_kernel, gate.backward_kernel):
        for dtype in ("fp32", "bf16"):
            for channels, has_cond in ((5, False), (64, True), (256, True)):
                binary = compiled(kernel, dtype, channels, has_cond, arch)
                row = resources(binary.asm["cubin"])
                row["kernel"] = f"{kernel.__name__} sm_{arch} {dtype} D={channels}"
                rows.append(row)
print(json.dumps(rows))
"""

# Shared memory a block may have: CUDA C++ Programming Guide, table of compute capabilities.
SHARED_LIMIT = 163 * 1024


def test_kernels_compile_without_spills():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 36
    for row in rows:
        assert row["LOCAL"] == 0 and row["STACK"] == 0, row
        assert row["REG"] <= 255 and row["SHARED"] <= SHARED_LIMIT, row
