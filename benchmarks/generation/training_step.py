"""A vocoder's training step, against the same network in eager PyTorch and compiled.

    python -m benchmarks vocoder-step
    python -m benchmarks vocoder-step --preset wavenet-vocoder-gaussian --threads 2

Random weights, signals and mel-spectrograms. The eager network is wavenet_vocoder's formulation:
convolutions over (B, C, T), a 1x1 of the upsampled frames in every layer. All compute the same
loss of the same distribution; the gradients of each must first be those of the eager network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.environment import BUILD, environment, write_results
from benchmarks.timing import Run, circumstances, interleave, spread
from wavenet import WaveNet, create_model

CONTENDERS = ("eager", "compile", "ours")
Say = Callable[[WaveNet, Tensor, Tensor | None, Any], Tensor]


def eager_network(model: WaveNet, values: Tensor, mel: Tensor | None, speaker: Any) -> Tensor:
    """`WaveNet._say` as the original has it: of scalars and mels, without speakers."""
    config, stack, conditioning = model.config, model.stack, model.conditioning
    assert conditioning.local is not None and conditioning.frames is not None
    assert conditioning.upsample is not None and speaker is None
    residual, taps = config.residual_channels, config.kernel_size
    mel = conditioning.prepare_mel(mel, *values.shape)
    frames = conditioning.upsample(conditioning.frames(mel))
    each = conditioning.local.weight.split(2 * config.dilation_channels)
    seen = F.pad(values, (1, 0), value=model._first)[:, :-1]
    x = F.conv1d(seen[:, None], model.stem.weight.permute(2, 1, 0), model.stem.bias)
    skips: Tensor | float = 0.0
    for n, dilation in enumerate(config.dilations):
        bias = None if stack.conv_bias is None else stack.conv_bias[n]
        padded = F.pad(x, ((taps - 1) * dilation, 0))
        a = F.conv1d(padded, stack.conv_weight[n], bias, dilation=dilation)
        filters, gates = (a + F.conv1d(frames, each[n])).chunk(2, dim=1)
        bias = None if stack.out_bias is None else stack.out_bias[n]
        out = F.conv1d(filters.tanh() * gates.sigmoid(), stack.out_weight[n].unsqueeze(2), bias)
        skips = skips + out[:, residual:]
        x = config.residual_scale * (x + out[:, :residual])
    assert isinstance(skips, Tensor)
    hidden, output = model.hidden, model.output
    h = F.conv1d((config.skip_factor * skips).relu(), hidden.weight.unsqueeze(2), hidden.bias)
    return F.conv1d(h.relu(), output.weight.unsqueeze(2), output.bias)


def measure(
    model: WaveNet, batch: int, samples: int, rounds: int, contenders: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each contender."""
    torch.manual_seed(0)
    config = model.config
    assert config.mel is not None
    waveform = 0.1 * torch.randn(batch, samples)
    mel = torch.randn(batch, config.mel.mels, samples // config.hop)

    def step(_: object = None) -> Tensor:
        model.zero_grad()
        model.loss(waveform, mel).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    def by(network: Say) -> Callable[..., Tensor]:
        def call(_: object = None) -> Tensor:
            with mock.patch.object(WaveNet, "_say", network):
                return step()

        return call

    every = {"eager": by(eager_network), "compile": by(torch.compile(eager_network)), "ours": step}
    steps = {name: every[name] for name in contenders}
    expected, apart = every["eager"](), {}
    for contender, run in steps.items():
        apart[contender] = float((run() - expected).norm() / expected.norm())
        assert apart[contender] < 1e-3, (contender, apart)
    runs = {contender: Run(run) for contender, run in steps.items()}
    times = interleave(runs, rounds=rounds)
    rows = []
    for contender, samples_of in times.items():
        median, p10, p90 = spread(samples_of)
        row = {"contender": contender, "median_ms": 1e3 * median, "p10_ms": 1e3 * p10}
        row |= {"p90_ms": 1e3 * p90, "differs_by": apart[contender]}
        if "eager" in times:
            row["over_eager"] = spread(times["eager"])[0] / median
        rows.append(row | circumstances(samples_of, torch.get_num_threads()))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks vocoder-step", description=__doc__)
    parser.add_argument("--preset", default="wavenet-vocoder-mol")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--samples", type=int, default=7936, help="of each, a multiple of the hop")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=BUILD / "vocoder-step-cpu.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    where = environment()
    torch.manual_seed(0)
    model = create_model(options.preset, sample_rate=22050)
    if not isinstance(model, WaveNet) or model.config.mel is None or model.config.input == "codes":
        parser.error(f"--preset is {options.preset}; accepted is a WaveNet of scalars with mels")
    if options.samples < 1 or options.samples % model.config.hop:
        accepted = f"accepted is a multiple of the hop, {model.config.hop}"
        parser.error(f"--samples is {options.samples}; {accepted}")
    rows = measure(model, options.batch, options.samples, options.rounds, options.contenders)
    print("| contender | ms a step (10-90 %) | x eager |\n|---|---:|---:|")
    for row in rows:
        times = f"{row['median_ms']:.0f} ({row['p10_ms']:.0f}-{row['p90_ms']:.0f})"
        print(f"| {row['contender']} | {times} | {row.get('over_eager', float('nan')):.2f} |")
    sizes = {name: getattr(options, name) for name in ("preset", "batch", "samples")}
    write_results(options.out, {"benchmark": "vocoder-step", **sizes, "rows": rows, **where})
