"""`python -m benchmarks triton-tuning`: measures configurations of the Triton kernels on this GPU.

For each workload's training step, kernel after kernel: the candidates around the configuration in
use are put in its place, one at a time, and the step is timed, all of them in turn. The fastest, if
it is faster than the one in use by more than the noise, becomes a row of the table that is written:
to the backend's tuning.json with --keep, else where --out says.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from benchmarks.operators.contenders import Ours
from benchmarks.operators.stack import pass_of
from benchmarks.operators.workloads import WORKLOADS, Workload, for_gpu
from benchmarks.reporting.rows import sentence
from benchmarks.timing import Run, interleave, spread, timed
from wavenet.files import replace_file
from wavenet_kernels.backends.triton import tuning
from wavenet_kernels.backends.triton.launcher import Launcher, use_launcher

Key = tuple[str, tuple[tuple[str, int], ...]]  # of a kernel and its sizes
Choices = Mapping[str, Mapping[str, Sequence[int]]]  # by kernel, what is varied

SHIPPED = Path(tuning.__file__).with_name("tuning.json")
# What is varied; other blocks hold whole rows of channels and are not free.
CHOICES: Choices = {
    "layer": {"BLOCK_T": (32, 64, 128, 256), "num_warps": (4, 8), "num_stages": (1, 2, 3)},
    "convolution": {"BLOCK_T": (64, 128), "BLOCK_R": (32, 64), "num_warps": (4, 8)},
    "gate_gradient": {"BLOCK_T": (32, 64, 128), "BLOCK_D": (32, 64), "num_warps": (4, 8)},
    "weight_gradient": {"BLOCK_T": (32, 64, 128), "num_warps": (4, 8), "num_stages": (2, 3)},
    "layer_gradient": {"BLOCK_T": (16, 32, 64), "num_warps": (4, 8)},
}
MARGIN = 0.02  # of the time, by which a candidate must win


class Trial(Launcher):
    """Launches with the configurations in `better`, else with the table's; `used` has them all."""

    def __init__(self) -> None:
        self.better: dict[Key, tuning.Config] = {}
        self.used: dict[Key, tuning.Config] = {}

    def configure(self, kernel: str, like: torch.Tensor, **sizes: int) -> tuning.Config:
        key = (kernel, tuple(sizes.items()))
        self.used[key] = self.better.get(key) or super().configure(kernel, like, **sizes)
        return self.used[key]


def tune(
    workload: Workload,
    dtype: torch.dtype,
    device: str,
    rounds: int,
    choices: Choices = CHOICES,
    margin: float = MARGIN,
) -> list[dict[str, Any]]:
    """Rows for the kernels of the workload that a candidate improves by more than the margin."""
    step = pass_of("step", Ours("triton"), workload, workload.tensors(device, dtype))
    trial = Trial()
    with use_launcher(trial):
        timed(step, device)
        for key, config in list(trial.used.items()):
            variants = candidates(config, choices.get(key[0], {}))
            runs = {index: _with(step, trial, key, c) for index, c in enumerate(variants)}
            working = {index: run for index, run in runs.items() if _works(run, device)}
            samples = interleave(working, rounds=rounds, device=device)
            medians = {index: spread(samples[index])[0] for index in working}
            best = min(medians, key=medians.__getitem__)
            gain = 1 - medians[best] / medians[0]
            print(
                f"{workload.name} {key[0]} {dict(key[1])}: {variants[best]}, {gain:.1%} of a step"
            )
            if gain > margin:
                trial.better[key] = variants[best]
            else:
                trial.better.pop(key, None)
    where = environment(device)
    return [
        {
            "kernel": kernel,
            "arch": trial.architecture(torch.device(device)),
            "dtypes": [str(dtype).removeprefix("torch.")],
            "sizes": dict(sizes),
            "config": config,
            "grounds": f"measured on {where['device']}, {where['commit']}",
        }
        for (kernel, sizes), config in trial.better.items()
    ]


def candidates(config: tuning.Config, choices: Mapping[str, Sequence[int]]) -> list[tuning.Config]:
    """The configuration itself, first, and what differs from it in the choices."""
    different = []
    for values in itertools.product(*choices.values()):
        candidate = {**config, **dict(zip(choices, values, strict=True))}
        if candidate != config:
            different.append(candidate)
    return [config, *different]


def _with(step: Run, trial: Trial, key: Key, config: tuning.Config) -> Run:
    def run(prepared: Any) -> None:
        trial.better[key] = config
        step.run(prepared)

    return Run(run, step.prepare, variables=step.variables)


def _works(run: Run, device: str) -> bool:
    """False for a candidate that asks for more than the chip has."""
    try:
        timed(run, device)
    except Exception as error:
        print(f"  left out: {sentence(error)}")
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    names = [workload.name for workload in WORKLOADS if workload.batch == 1]
    parser = argparse.ArgumentParser(prog="python -m benchmarks triton-tuning")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--keep", action="store_true", help="into the backend's own tuning.json")
    parser.add_argument("--out", type=Path, default=Path("triton-tuning.json"))
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for workload in WORKLOADS:
        if workload.name in options.workloads:
            sized = for_gpu(workload) if device == "cuda" else workload
            rows += tune(sized, getattr(torch, options.dtype), device, options.rounds)
    write(SHIPPED if options.keep else options.out, rows)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows, and after them those that the file has already: the first that fits is used."""
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    lines = ",\n".join("    " + json.dumps(row) for row in [*rows, *kept])
    replace_file(path, '{\n  "rows": [\n' + lines + "\n  ]\n}\n")
    print(f"wrote {path}")
