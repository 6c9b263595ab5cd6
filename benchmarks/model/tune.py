"""Searches configurations of a Triton kernel by the model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence

import torch

from benchmarks.model.launches import ARCH, Pass
from benchmarks.model.predict import POSITIONS, Predicted, predict
from benchmarks.operators.workloads import Workload
from benchmarks.reporting.rows import sentence
from wavenet_kernels.backends.triton import tuning

Space = Mapping[str, Sequence[int]]

# The kernels of the tuning table: in which pass, and what is tried of them.
_WARPS, _STAGES = (4, 8), (1, 2, 3)
SPACES: dict[str, tuple[str, Space]] = {
    "layer": (
        "forward",
        {"BLOCK_T": (32, 64, 128), "BLOCK_O": (32, 64, 128), "num_warps": _WARPS,
         "num_stages": _STAGES},
    ),
    "layer_gradient": ("backward", {"BLOCK_T": (16, 32, 64), "num_warps": _WARPS}),
    "gate_gradient": (
        "backward",
        {"BLOCK_T": (32, 64, 128), "num_warps": _WARPS, "num_stages": _STAGES},
    ),
    "convolution": (
        "backward",
        {"BLOCK_T": (64, 128), "num_warps": _WARPS, "num_stages": (2, 3)},
    ),
    "weight_gradient": (
        "backward",
        {"BLOCK_T": (32, 64, 128), "num_warps": _WARPS, "num_stages": (2, 3)},
    ),
}  # fmt: skip


def search(
    workload: Workload, kernel: str, dtype: torch.dtype, space: Space | None = None
) -> list[tuple[float, tuning.Config]]:
    """Prints the microseconds a layer of each configuration; returns them, the fastest first."""
    direction, usual = SPACES[kernel]
    tried = space or usual
    changes = [{}] + [
        dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())
    ]
    of = Pass("triton", workload, direction, dtype)
    results = []
    for change in changes:
        try:
            with tuning.adjusted({kernel: change}):
                prediction = predict(of, kernels=[f"{kernel}_kernel"])
        except Exception as problem:
            print(f"       - us {change}: {sentence(problem)[:110]}", flush=True)
            continue
        launches = prediction.launches
        if not launches:
            print(f"{workload.name}: no {kernel} in a {direction} pass")
            return []
        results.append((prediction.microseconds, change))
        label = change or "as it is"
        print(f"{prediction.microseconds:8.1f} us {label}: {_describe(launches[-1])}", flush=True)
    return sorted(results, key=lambda result: result[0])


def row(
    workload: Workload, kernel: str, dtype: torch.dtype, microseconds: float, change: tuning.Config
) -> str:
    """The configuration as a row of tuning.json."""
    w = workload
    sizes = {"R": w.residual, "D": w.dilation_channels, "S": w.skip, "K": w.taps}
    config = tuning.choose(kernel, f"sm_{ARCH}", dtype, **sizes) | change
    return json.dumps(
        {
            "kernel": kernel,
            "arch": f"sm_{ARCH}",
            "dtypes": [str(dtype).removeprefix("torch.")],
            "sizes": sizes,
            "config": config,
            "grounds": f"predicted: {microseconds:.0f} us a layer of {POSITIONS:,} positions "
            "(benchmarks model tune); not measured",
        }
    )


def _describe(predicted: Predicted) -> str:
    launch = predicted.launch
    spills = sum("STL" in text for text in launch.load().text)
    return (
        f"{predicted.resident} blocks a multiprocessor, {predicted.registers} registers, "
        f"{launch.shared_bytes / 1024:.0f} KiB, {spills} stores of spilled registers, "
        f"{predicted.replayed.shares()['issue']:.2f} instructions a cycle and scheduler"
    )
