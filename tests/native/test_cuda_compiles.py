"""What the CUDA kernels use of each default chip, read from the built module; no GPU is needed."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_ARCHS = re.search(r"foreach\(arch (\d[\w ]+)\)", (ROOT / "csrc" / "cuda.cmake").read_text())
KERNELS = {
    "data_gradient",
    "fused_backward",
    "gate_gradient",
    "gated_activation",
    "layers",
    "pack",
    "stream",
    "sum_over_time",
    "sum_partials",
    "weight_gradient",
    "wide_weight_gradient",
}

if importlib.util.find_spec("wavenet_kernels._cuda") is None:
    pytest.skip("built without CUDA", allow_module_level=True)


def _cuobjdump() -> str | None:
    """Of the CUDA toolkit, or the one that Triton brings."""
    triton = importlib.util.find_spec("triton")
    places = [] if triton is None or triton.origin is None else [Path(triton.origin).parent]
    beside = [str(place / "backends" / "nvidia" / "bin" / "cuobjdump") for place in places]
    found = [shutil.which(tool) for tool in ("cuobjdump", "/usr/local/cuda/bin/cuobjdump", *beside)]
    return next((tool for tool in found if tool is not None), None)


@pytest.fixture(scope="module")
def usage() -> dict[str, list[tuple[str, dict[str, int]]]]:
    """By chip: the kernels' names and what they use."""
    import wavenet_kernels._cuda as _cuda

    tool = _cuobjdump()
    if tool is None:
        pytest.skip("no cuobjdump: it comes with the CUDA toolkit and with Triton")
    command = [tool, "--dump-resource-usage", _cuda.__file__]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[tuple[str, dict[str, int]]]] = {}
    for cubin in text.split("Fatbin elf code:")[1:]:
        arch = re.search(r"arch = sm_(\w+)", cubin)
        assert arch is not None
        for name, numbers in re.findall(r"Function (\w+):\s+(.*)", cubin):
            used = {key: int(n) for key, n in re.findall(r"(\w+)(?:\[\d\])?:(\d+)", numbers)}
            found.setdefault(arch[1], []).append((name, used))
    return found


def test_built_for_every_default_chip(usage):
    assert DEFAULT_ARCHS is not None
    if not set(DEFAULT_ARCHS[1].split()) <= set(usage):
        pytest.skip(f"built for {sorted(usage)}, not for all of {DEFAULT_ARCHS[1]}")


def test_every_kernel_is_there_for_every_chip(usage):
    for arch, kernels in usage.items():
        for kernel in KERNELS:
            assert any(f"{kernel}_kernel" in name for name, _ in kernels), (arch, kernel)
    assert len({len(kernels) for kernels in usage.values()}) == 1


def test_no_kernel_spills(usage):
    for arch, kernels in usage.items():
        for name, used in kernels:
            # A block of 256 threads must fit into the 65,536 registers of a multiprocessor.
            assert used["REG"] <= 255, (arch, name)
            assert used["STACK"] == used["LOCAL"] == 0, (arch, name)


def test_shared_memory_is_asked_for_at_launch(usage):
    """No kernel has any of its own, so that the layouts (csrc/cuda/layout.h) are all of it."""
    for arch, kernels in usage.items():
        for name, used in kernels:
            # Since sm_90 the system takes 1 KiB of a block's.
            assert used["SHARED"] in (0, 1024), (arch, name)


def test_the_module_imports_anywhere_and_says_what_it_is_for():
    import wavenet_kernels._cuda as _cuda

    info = _cuda.build_info()
    assert re.fullmatch(r"(\d+[af]?(-real)?|native)( \d+[af]?(-real)?)*", info["archs"])
    assert re.fullmatch(r"\d+\.\d+", info["cudart"])
    assert _cuda.device_count() >= 0
