"""Size, receptive field and cost of the named architectures, as a table and as JSON.

python -m benchmarks presets
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import BUILD, environment, write_results
from benchmarks.timing import Run, interleave, spread
from wavenet import WaveNetConfig, create_model
from wavenet.networks import list_models

LABELS = tuple(f"class {i}" for i in range(10))
SAMPLE_RATE = 16000


def gflop_per_second(config: WaveNetConfig) -> float:
    """Arithmetic of the residual stack and the head for a second of audio, in 10^9 operations."""
    r, d, s = config.residual_channels, config.dilation_channels, config.skip_channels
    layer = 4 * config.kernel_size * r * d + 2 * d * (r + s)
    stack = layer * len(config.dilations) * config.sample_rate / config.stem_stride
    widths = [s] + [config.head_channels] * config.head_layers
    convs = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    head = 2 * config.head_kernel_size * convs * 1000 / config.frame_ms
    return (stack + head) / 1e9


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks presets", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the clip")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=BUILD / "presets-cpu.json")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    where = environment()
    torch.manual_seed(0)
    clip = 0.1 * torch.randn(1, round(options.seconds * SAMPLE_RATE))
    models = {name: create_model(name, LABELS, SAMPLE_RATE).eval() for name in list_models()}

    def classify(name: str, _: Any) -> None:
        models[name](clip)

    times = interleave(
        {name: Run(partial(classify, name)) for name in models}, rounds=options.rounds
    )
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        median, low, high = (1000 * value / options.seconds for value in spread(times[name]))
        rows.append(
            {
                "name": name,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "receptive_field": model.receptive_field,
                "receptive_field_ms": model.receptive_field_ms,
                "gflop_per_second": gflop_per_second(model.config),
                "median_ms_per_second": median,
                "p10_ms_per_second": low,
                "p90_ms_per_second": high,
            }
        )
    print(
        "| preset | parameters | receptive field | GFLOP a second of audio | ms a second of audio |"
    )
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| `{row['name']}` | {row['parameters']:,} | {row['receptive_field']:,} samples, "
            f"{row['receptive_field_ms']:.0f} ms | {row['gflop_per_second']:.2f} | "
            f"{_short(row['median_ms_per_second'])} |"
        )
    write_results(
        options.out,
        {
            "benchmark": "presets",
            "protocol": f"one clip of {options.seconds:g} s at {SAMPLE_RATE} Hz, one thread, "
            f"medians of {options.rounds}, presets interleaved; {len(LABELS)} classes",
            "rounds": options.rounds,
            "rows": rows,
            **where,
        },
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
