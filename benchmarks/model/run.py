"""`python -m benchmarks model COMMAND`: how long GPU kernels take, predicted with no GPU.

    predict     microseconds of a layer by backend, workload and pass; what each launch waits for
    tune        configurations of a Triton kernel, the best as a row of tuning.json
    calibrate   the model on kernels whose speed is known; its constants and assumptions

Kernels' machine code for sm_90 is executed by tests/sass, traces of a few blocks are replayed on a
model of one multiprocessor of an H100. That takes seconds to a minute a pass.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.environment import environment, write_results
from benchmarks.model import tune
from benchmarks.model.assumptions import CLOCK, CONSTANTS, MULTIPROCESSORS, SENTENCES
from benchmarks.model.calibrate import calibrate
from benchmarks.model.launches import BACKENDS, Pass
from benchmarks.model.predict import POSITIONS, Predicted, Prediction, predict
from benchmarks.operators.workloads import WORKLOADS, Workload, for_gpu, parse
from benchmarks.reporting.rows import Row

NAMES = ("small", "reference", "vocoder", "flow")
DIRECTIONS = ("forward", "backward", "inference")
_MMA_FLOPS = 4096  # of an mma.sync m16n8k16, of which each of four schedulers has one going
_WGMMA_FLOPS = 4096  # a cycle of a multiprocessor
_LEAST_SHARE = 0.02  # of what is printed of a launch


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, predict, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    predicting = commands.add_parser("predict", help="microseconds of a layer")
    predicting.add_argument("--workloads", nargs="+", type=_workload, metavar="WORKLOAD",
                            default=[_workload(name) for name in NAMES],
                            help=f"{', '.join(NAMES)}, or as R=64,D=64,S=128,K=2,L=10")  # fmt: skip
    predicting.add_argument("--backends", nargs="+", choices=tuple(BACKENDS), default=[*BACKENDS])
    predicting.add_argument("--passes", nargs="+", choices=DIRECTIONS, default=DIRECTIONS[:2])
    predicting.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    predicting.add_argument(
        "--dilations",
        type=_dilations,
        help='of a stack in place of the workload\'s, such as "1,16": quicker',
    )
    predicting.add_argument("--kernels", nargs="+", default=("",), metavar="WORD",
                            help="only launches whose names have such a word")  # fmt: skip
    predicting.add_argument("--top", type=int, default=0, metavar="N",
                            help="the N instructions at which warps wait most")  # fmt: skip
    predicting.add_argument("--out", type=Path, help="JSON file as well, with versions and commit")
    predicting.set_defaults(run=_predict)
    tuning = commands.add_parser("tune", help="configurations of a Triton kernel")
    tuning.add_argument("workload", type=_workload)
    tuning.add_argument("--kernel", choices=tuple(tune.SPACES), default="layer")
    tuning.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    tuning.add_argument("--dilations", type=_dilations, default=(16, 64))
    tuning.add_argument(
        "--space", type=json.loads, help='such as {"BLOCK_T": [64], "num_warps": [4, 8]}'
    )
    tuning.set_defaults(run=_tune)
    calibrating = commands.add_parser("calibrate", help="the model on kernels of known speed")
    calibrating.set_defaults(run=_calibrate)
    options = parser.parse_args(arguments)
    options.run(options)


def _workload(text: str) -> Workload:
    return for_gpu(next((w for w in WORKLOADS if w.name == text), None) or parse(text))


def _dilations(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _tune(options: argparse.Namespace) -> None:
    print(grounds())
    workload = replace(options.workload, dilations=options.dilations)
    dtype = getattr(torch, options.dtype)
    print(f"\npredicted, {options.kernel} of {workload.name}:")
    results = tune.search(workload, options.kernel, dtype, options.space)
    if results:
        print(tune.row(workload, options.kernel, dtype, *results[0]))


def _calibrate(_: argparse.Namespace) -> None:
    console = Console(width=150)
    constants = Table("constant", "value", "unit", "of what", "source", title="assumed")
    for name, constant in CONSTANTS.items():
        value = f"{constant.value:g}"
        constants.add_row(name, value, constant.unit, constant.what, constant.source)
    console.print(constants)
    print(grounds())


def grounds() -> str:
    """What every prediction stands on: calibration and assumptions."""
    calibrated = "".join(f"\n  {result}" for result in calibrate())
    assumed = "".join(f"\n  {sentence}" for sentence in SENTENCES)
    return f"calibration:{calibrated}\nassumptions:{assumed}"


def _predict(options: argparse.Namespace) -> None:
    console, rows = Console(width=150), []
    print(grounds())
    for workload in options.workloads:
        given = replace(workload, dilations=options.dilations or workload.dilations)
        for direction in options.passes:
            for backend in options.backends:
                of = Pass(backend, given, direction, getattr(torch, options.dtype))
                prediction = predict(of, kernels=options.kernels)
                rows.append(row_of(prediction))
                print(f"\n{backend} {workload.name} {direction}: {rows[-1]['predicted_us']:.1f} us")
                for launch in prediction.launches:
                    print(f"  {describe(launch)}")
                    if options.top:
                        print(hot_spots(launch, options.top))
                print(flush=True)
    console.print(table(rows))
    if options.out:
        content = {
            **environment(),
            "benchmark": "model",
            "assumptions": SENTENCES,
            "constants": {name: asdict(constant) for name, constant in CONSTANTS.items()},
            "calibration": [asdict(result) for result in calibrate()],
            "rows": rows,
        }
        write_results(options.out, content)


def row_of(prediction: Prediction) -> Row:
    """A row of results."""
    of, workload = prediction.of, prediction.of.workload
    memory, products = floors(workload, of.direction, of.dtype)
    return {
        "workload": workload.name,
        "sizes": workload.sizes,
        "pass": of.direction,
        "contender": f"ours {of.backend}",
        "dtype": str(of.dtype).removeprefix("torch."),
        "arch": "sm_90",
        "positions": POSITIONS,
        "predicted_us": prediction.microseconds,
        "floor_memory_us": memory,
        "floor_products_us": products,
        "launches": [
            {
                "kernel": short(launch.launch.name),
                "predicted_us": launch.microseconds,
                "times": launch.times,
                "grid": launch.launch.grid,
                "threads": launch.launch.threads[0],
                "shared_bytes": launch.launch.shared_bytes,
                "registers": launch.registers,
                "resident": launch.resident,
                "busy": launch.replayed.shares(),
                "waits": launch.replayed.idle(),
            }
            for launch in prediction.launches
        ],
    }


def floors(w: Workload, direction: str, dtype: torch.dtype) -> tuple[float, float]:
    """Microseconds of a layer that its bytes take, each moved once, and its products by wgmma."""
    what = "forward" if direction == "inference" else direction
    layers = w.batch * w.time * len(w.dilations) / POSITIONS
    bandwidth = CONSTANTS["dram_rate"].value * MULTIPROCESSORS * CLOCK
    memory = w.minimal_bytes(what, dtype) / layers / bandwidth
    products = w.flops(what) / layers / (_WGMMA_FLOPS * MULTIPROCESSORS * CLOCK)
    return memory * 1e6, products * 1e6


def table(rows: Sequence[Row]) -> Table:
    """One line for each pass."""
    mma = 4 * _MMA_FLOPS / CONSTANTS["mma"].value / _WGMMA_FLOPS
    out = Table("workload", "pass", "backend",
                title=f"predicted microseconds of a layer, {POSITIONS:,} positions, H100 (model)",
                caption=f"floors: bytes at DRAM's rate; products by wgmma (mma.sync has {mma:.0%} "
                "of its rate)")  # fmt: skip
    headings = ("predicted, us", "floor: bytes, us", "floor: products, us", "predicted / floor")
    for heading in headings:
        out.add_column(heading, justify="right")
    for row in rows:
        floor = max(row["floor_memory_us"], row["floor_products_us"])
        out.add_row(
            row["workload"],
            row["pass"],
            row["contender"],
            f"{row['predicted_us']:.0f}",
            f"{row['floor_memory_us']:.0f}",
            f"{row['floor_products_us']:.0f}",
            f"{row['predicted_us'] / floor:.2f}",
        )
    return out


def describe(predicted: Predicted) -> str:
    """A launch in a few lines."""
    launch, done = predicted.launch, predicted.replayed

    def listed(shares: dict[str, float]) -> str:
        order = sorted(shares.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {share:.0%}" for name, share in order if share > _LEAST_SHARE)

    return (
        f"{predicted.microseconds:.1f} us x {predicted.times}: {short(launch.name)}, grid "
        f"{'x'.join(map(str, launch.grid))}, {launch.threads[0]} threads, {predicted.registers} "
        f"registers, {launch.shared_bytes / 1024:.0f} KiB, {predicted.resident} a multiprocessor\n"
        f"    busy: {listed(done.shares())}\n    waits: {listed(done.idle())}"
    )


def hot_spots(predicted: Predicted, top: int) -> str:
    """Where warps' time passes: the instructions before whose issue most of it does."""
    waited, text = predicted.replayed.waited, predicted.launch.load().text
    lines = []
    for place in sorted(np.argsort(-waited)[:top]):
        before = f"   after {text[place - 1]}" if place else ""
        share = waited[place] / waited.sum()
        lines.append(f"      {16 * place:6x} {share:6.1%}  {text[place]}{before}")
    return "\n".join(lines)


def short(name: str) -> str:
    """A kernel's name without namespaces and parameters."""
    found = re.match(r"_ZN7wavenet4cuda(?:12_GLOBAL__N_1)?\d+([a-z_]+)", name)
    return found[1] if found else name
