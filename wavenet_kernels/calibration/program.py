"""`python -m wavenet_kernels calibrate`: measures who computes common networks, and shows it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from wavenet_kernels.call import Call

# R, D, S, K, layers of a cycle of dilations, cycles, padding: sizes that papers and programs use.
WORKLOADS = {
    "small": (32, 32, 64, 2, 9, 2, "causal"),
    "classifier": (64, 64, 128, 2, 10, 3, "causal"),
    "vocoder": (128, 128, 128, 3, 6, 4, "causal"),
    "flow": (256, 256, 256, 3, 8, 1, "same"),
}


def stack(
    sizes: tuple[int, int, int, int, int, int, str],
    batch: int,
    time_: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Call:
    """The call of a residual stack, of tensors that take no memory."""
    R, D, S, K, length, cycles, padding = sizes
    dilations = tuple(2**i for i in range(length)) * cycles
    L = len(dilations)

    def make(*shape: int) -> torch.Tensor:
        return torch.empty((), device=device, dtype=dtype).expand(shape)

    arguments = {
        "x": make(batch, R, time_),
        "conv_weight": make(L, 2 * D, R, K),
        "conv_bias": make(L, 2 * D),
        "out_weight": make(L, R + S, D),
        "out_bias": make(L, R + S),
        "dilations": dilations,
        "padding": padding,
    }
    return Call.of("residual_stack", arguments).within_time()


def main(arguments: Sequence[str]) -> None:
    """Measure what is not remembered, print every decision."""
    parser = argparse.ArgumentParser(
        prog="python -m wavenet_kernels calibrate", description=__doc__
    )
    gpu = torch.cuda.is_available()
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="bfloat16" if gpu else "float32",
    )
    parser.add_argument(
        "--batch", type=int, default=32 if gpu else 1, help="B (default %(default)s)"
    )
    parser.add_argument("--time", type=int, default=16000, help="T (default %(default)s)")
    parser.add_argument("--inference", action="store_true", help="forward alone, no training step")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds for each workload")
    parser.add_argument("--forget", action="store_true", help="first remove all that is remembered")
    parser.add_argument("--out", type=Path, help="write the decisions there, as JSON")
    given = parser.parse_args(arguments)
    from wavenet_kernels import calibration
    from wavenet_kernels.calibration import store

    if given.forget:
        calibration.forget()
    made = []
    for name in given.workload:
        device, dtype = torch.device(given.device), getattr(torch, given.dtype)
        call = stack(WORKLOADS[name], given.batch, given.time, device, dtype)
        start = time.perf_counter()
        made += calibration.calibrate([(call, not given.inference)], budget_s=given.budget)
        print(f"{name} ({time.perf_counter() - start:.1f} s): {made[-1].describe()}")
        for label, figures in made[-1].figures.items():
            print(
                f"  {figures['median_ms']:10.3f} ms  "
                f"({figures['p10_ms']:.3f} to {figures['p90_ms']:.3f})  {label}"
            )
        for label, reason in made[-1].refused.items():
            print(f"  {'refused':>13}  {label}: {reason}")
    if given.out:
        entries = [decision.as_entry() for decision in made]
        store.replace(given.out, json.dumps(entries, indent=1) + "\n")
        print(f"wrote {given.out}")
