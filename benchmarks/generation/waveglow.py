"""WaveGlow's inference and training step, against the same network in eager PyTorch.

    python -m benchmarks waveglow
    python -m benchmarks waveglow --channels 64 --seconds 0.25 --threads 2

Random weights, one signal. The eager network is the original's formulation, convolutions over
(B, C, T), with weight norm folded; it must first give the same sound and the same gradients. Beside
the times stands a ceiling: the products' floating-point operations at the rate of a plain matrix
product of a layer's shape.
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
from benchmarks.timing import Run, interleave, spread
from wavenet import WaveGlow, WaveGlowConfig
from wavenet.generation.flow import WN


def eager_network(network: WN, half: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """`WN.forward` as the original has it."""
    stack = network.stack
    channels, layers = stack.conv_weight.shape[2], len(stack.dilations)

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
        weight = weight.unsqueeze(2) if weight.dim() == 2 else weight
        padding = dilation * (weight.shape[2] - 1) // 2
        return F.conv1d(x, weight, bias, dilation=dilation, padding=padding)

    assert stack.conv_bias is not None and stack.out_bias is not None
    h = conv(half.transpose(1, 2), network.start.weight, network.start.bias)
    cond = conv(condition.transpose(1, 2), network.condition.weight, network.condition.bias)
    skips: Tensor | float = 0.0
    for n, dilation in enumerate(stack.dilations):
        a = conv(h, stack.conv_weight[n], stack.conv_bias[n], dilation)
        filters, gates = (a + cond[:, 2 * channels * n : 2 * channels * (n + 1)]).chunk(2, dim=1)
        rows = slice(channels if n == layers - 1 else 0, None)
        out = conv(
            filters.tanh() * gates.sigmoid(), stack.out_weight[n, rows], stack.out_bias[n, rows]
        )
        skips = skips + out[:, -channels:]
        if n < layers - 1:
            h = h + out[:, :channels]
    assert isinstance(skips, Tensor)
    shift, log_scale = conv(skips, network.end.weight, network.end.bias).transpose(1, 2).chunk(2, 2)
    return shift, log_scale


def flops(config: WaveGlowConfig, steps: int) -> float:
    """Of the products of one pass over all flows, of which the couplings' are nearly all."""
    width, layers = config.channels, config.layers
    layer = 2 * width * width * config.kernel_size + 2 * width * width
    condition = config.mel.mels * config.group * 2 * width * layers
    return 2.0 * steps * config.flows * (layers * layer - width * width + condition)


def measure(config: WaveGlowConfig, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """A row for each pass and contender."""
    torch.manual_seed(0)
    model = WaveGlow(config)
    for flow in model.flows:
        torch.nn.init.normal_(flow.network.end.weight, std=0.01)
    frames = max(2, round(seconds * config.sample_rate / config.hop))
    time = frames * config.hop
    mel, waveform = torch.randn(1, config.mel.mels, frames), 0.1 * torch.randn(1, time)

    def infer() -> Tensor:
        return model.infer(mel, seed=0)

    def step() -> Tensor:
        model.zero_grad()
        model.loss(waveform, mel).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    def by_eager(run: Callable[[], Tensor]) -> Callable[..., Tensor]:
        def call(_: object = None) -> Tensor:
            with mock.patch.object(WN, "forward", eager_network):
                return run()

        return call

    width = config.channels
    rows, columns = torch.randn(time // config.group, 3 * width), torch.randn(3 * width, 2 * width)
    product = 2.0 * rows.numel() * 2 * width
    out = []
    for name, run, passes in (("infer", infer, 1), ("step", step, 3)):
        expected, got = by_eager(run)(), run()
        apart = float((got - expected).norm() / expected.norm())
        assert apart < 1e-3, (name, apart)
        runs = {
            "eager": Run(by_eager(run)),
            "ours": Run(lambda _, run=run: run()),
            "product": Run(lambda _: rows @ columns).lasting(0.01),
        }
        samples = interleave(runs, rounds=rounds)
        rate = product / spread(samples["product"])[0]
        base = spread(samples["eager"])[0]
        for contender in ("eager", "ours"):
            median, p10, p90 = spread(samples[contender])
            floor = passes * flops(config, time // config.group) / rate
            out.append(
                {
                    "pass": name,
                    "contender": contender,
                    "median_s": median,
                    "p10_s": p10,
                    "p90_s": p90,
                    "seconds_of_sound": time / config.sample_rate,
                    "over_eager": base / median,
                    "share_of_products_rate": floor / median,
                    "differs_by": apart,
                }
            )
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks waveglow", description=__doc__)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--flows", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.0, help="of sound")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=BUILD / "waveglow-cpu.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    where = environment()
    config = WaveGlowConfig(flows=options.flows, channels=options.channels)
    rows = measure(config, options.seconds, options.rounds)
    print("| pass | contender | s (10-90 %) | x eager | of the products' rate |")
    print("|---|---|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['pass']} | {row['contender']} | {row['median_s']:.2f} "
            f"({row['p10_s']:.2f}-{row['p90_s']:.2f}) | {row['over_eager']:.2f} "
            f"| {100 * row['share_of_products_rate']:.0f} % |"
        )
    write_results(options.out, {"benchmark": "waveglow", "rows": rows, **where})
