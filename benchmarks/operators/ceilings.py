"""What the machine can do at most, measured in the same rounds as the contenders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.operators.workloads import Workload
from benchmarks.timing import Run, spread


def stack_ceilings(
    workload: Workload, device: str, dtype: torch.dtype, copied: int
) -> dict[Any, Run]:
    """A layer's matrix products in every form, and a copy of so many bytes; see `ceilings_of`."""
    rows = workload.batch * workload.time
    runs = {}
    for (inner, outer), product in _products(workload).items():
        a, b = torch.randn(rows, inner).to(device, dtype), torch.randn(inner, outer)
        for form, run in _forms(a, b.to(a)).items():
            # As often in a row as there are layers: what a first call warms up is warm for both.
            runs["ceiling", product, form] = Run(run, calls=len(workload.dilations))
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    runs["ceiling", "copy", ""] = Run(lambda _: target.copy_(source))
    return runs


def ceilings_of(
    workload: Workload, samples: Mapping[Any, Sequence[float]], copied: int
) -> dict[str, Any]:
    """What every row of a workload says of the ceilings, from the samples of `stack_ceilings`.

    ceiling_gflops: all of a layer's products, each in its fastest form, flops over time.
    ceiling_by: those forms. copy_gbs: bytes read and written by the copy.
    """
    rows = workload.batch * workload.time
    flops = seconds = 0.0
    chosen = []
    for (inner, outer), product in _products(workload).items():
        forms = {
            key[2]: spread(times)[0]
            for key, times in samples.items()
            if key[:2] == ("ceiling", product)
        }
        fastest = min(forms, key=lambda form: forms[form])
        chosen.append(f"{product}: {fastest}")
        flops += 2 * rows * inner * outer
        seconds += forms[fastest]
    return {
        "ceiling_gflops": flops / seconds / 1e9,
        "ceiling_by": ", ".join(chosen),
        "copy_gbs": 2 * copied / spread(samples["ceiling", "copy", ""])[0] / 1e9,
    }


def read_run(size: int, device: str) -> Run:
    """Reads as many bytes of float32, again and again, as weights are read call after call.

    It is torch's sum, the fastest reader of all torch operators tried on a 2-core AMD EPYC; of
    arrays under 100 kB it times its own dispatch as well.
    """
    buffer = torch.ones(size // 4, device=device)
    return Run(lambda _: buffer.sum())


def _products(workload: Workload) -> dict[tuple[int, int], str]:
    """Inner and outer size of a layer's forward products; the rows are positions."""
    taps = workload.taps * workload.residual
    return {
        (taps, 2 * workload.dilation_channels): "conv",
        (workload.dilation_channels, workload.residual + workload.skip): "1x1",
    }


def _forms(a: Tensor, b: Tensor) -> dict[str, Callable[[Any], Tensor]]:
    """Ways to the product of a and b.

    torch.mm is MKL in float32, which on an AMD EPYC reached half of the rate of oneDNN's linear.
    """
    weight, out = b.t().contiguous(), torch.empty(a.shape[0], b.shape[1]).to(a)
    forms: dict[str, Callable[[Any], Tensor]] = {"mm": lambda _: torch.mm(a, b, out=out)}
    if a.device.type == "cpu":
        channels_first, filters = a.t().contiguous().unsqueeze(0), weight.unsqueeze(2)
        forms["conv1d"] = lambda _: F.conv1d(channels_first, filters)
        linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
        if linear is not None:
            forms["oneDNN linear"] = lambda _: linear(a, weight, None, "none", [], "")
    return forms
