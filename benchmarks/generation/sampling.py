"""Samples a second of the whole loop, against eager PyTorch and the streamed stack.

    python -m benchmarks generation
    python -m benchmarks generation --networks fsdd nv-wavenet --rounds 5

Networks have random weights and local conditioning at the sample rate, made beforehand; each way to
run the loop must first say what the float64 reference says of the same samples, and is then timed
in the same rounds, by calls so long that reading the weights from memory, where the contender
before has pushed them out of the caches, is next to nothing. Beside the times stands a bound:
reading the weights once for each sample, but those of past taps once in eight, at the rate at which
one thread reads an array of that size here. All run on one thread, where nothing else is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import wavenet_kernels
from benchmarks.environment import BUILD, environment, write_results
from benchmarks.generation.eager import EagerQueues
from benchmarks.operators.ceilings import read_run
from benchmarks.timing import Run, interleave, spread
from wavenet_kernels import reference
from wavenet_kernels.sampling import SampleNetwork, Sampler, uniforms
from wavenet_kernels.sampling.loops import Stretch, TorchLoop

CHECKED = 48  # samples that every contender is checked on
AHEAD = 8  # samples for which past taps are read once (csrc/cpu/sampler.cpp)


class Sizes(NamedTuple):
    """Of a network: R, D, S, K, layers, layers of a stack, draw, parameters, rate."""

    R: int
    D: int
    S: int
    K: int
    layers: int
    each: int
    draw: str
    P: int
    rate: int


NETWORKS = {
    "mol": Sizes(128, 128, 128, 3, 24, 6, "logistic", 30, 22050),
    "mulaw256": Sizes(128, 128, 128, 3, 30, 10, "softmax", 256, 22050),
    "nv-wavenet": Sizes(64, 64, 256, 2, 16, 8, "softmax", 256, 16000),
    "fsdd": Sizes(32, 32, 64, 2, 16, 8, "softmax", 256, 8000),
}


class Contender(NamedTuple):
    """A way to run the loop: samples a call, signals, threads, and whether weights are rounded."""

    make: Callable[[SampleNetwork, int], Callable[..., Tensor]]
    batch: int = 1
    samples: int = 512
    half: bool = False
    threads: int = 1


def _around_stream(network: SampleNetwork, batch: int) -> Callable[..., Tensor]:
    with wavenet_kernels.use_backend("cpu"):
        loop = TorchLoop(network, batch)

    def run(n: int, cond: Tensor, forced: Tensor | None = None) -> Tensor:
        out = torch.zeros(batch, n, dtype=torch.int64 if network.codes else torch.float32)
        said = cond.new_empty(batch, n, network.parameters)
        loop.run(Stretch(cond, forced, None, 0, 0, 1.0, out, said))
        return out if forced is None else said.transpose(1, 2)

    return run


def _sampler(dtype: torch.dtype) -> Callable[..., Callable[..., Tensor]]:
    def make(network: SampleNetwork, batch: int) -> Callable[..., Tensor]:
        with wavenet_kernels.use_backend("cpu"):
            loop = Sampler(network, batch=batch, weights_dtype=dtype)

        def run(n: int, cond: Tensor, forced: Tensor | None = None) -> Tensor:
            said = cond.new_empty(batch, network.parameters, n) if forced is not None else None
            made = loop.run(n, cond, forced=forced, parameters=said)
            return made if said is None else said

        return run

    return make


def _eager(network: SampleNetwork, batch: int) -> Callable[..., Tensor]:
    loop = EagerQueues(network, batch)

    def run(n: int, cond: Tensor, forced: Tensor | None = None) -> Tensor:
        layers = len(network.dilations)
        each = cond.view(batch, layers, -1, n).permute(3, 1, 0, 2)
        made, said = loop.run(uniforms(0, n, batch=batch).float(), each, forced)
        return made if forced is None else said

    return run


CONTENDERS = {
    "eager PyTorch, queues": Contender(_eager, samples=64),
    "PyTorch around StackStream": Contender(_around_stream, samples=64),
    "ours": Contender(_sampler(torch.float32)),
    "ours, bfloat16 weights": Contender(_sampler(torch.bfloat16), half=True),
    "ours, two threads": Contender(_sampler(torch.float32), threads=2),
    "ours, bfloat16 weights, two threads": Contender(
        _sampler(torch.bfloat16), half=True, threads=2
    ),
    "ours, 8 signals": Contender(_sampler(torch.float32), batch=8, samples=128),
    "ours, 8 signals, bfloat16 weights": Contender(
        _sampler(torch.bfloat16), batch=8, samples=128, half=True
    ),
}


def network_of(sizes: Sizes) -> SampleNetwork:
    """Random weights that keep the scale of what goes through."""
    torch.manual_seed(0)
    R, D, S, K, layers, each, draw, P, _ = sizes

    def weight(*shape: int, fan: int) -> Tensor:
        return torch.randn(*shape) / fan**0.5

    return SampleNetwork(
        input_weight=weight(1, P if draw == "softmax" else 1, R, fan=1),
        input_bias=torch.zeros(R),
        conv_weight=weight(layers, 2 * D, R, K, fan=R * K),
        conv_bias=torch.zeros(layers, 2 * D),
        out_weight=weight(layers, R + S, D, fan=D),
        out_bias=torch.zeros(layers, R + S),
        hidden_weight=weight(S, S, fan=S),
        hidden_bias=torch.zeros(S),
        output_weight=weight(P, S, fan=S),
        output_bias=torch.zeros(P),
        dilations=tuple(2 ** (n % each) for n in range(layers)),
        draw=draw,
        first=P // 2 if draw == "softmax" else 0.0,
        residual_scale=0.5**0.5,
        skip_scale=layers**-0.5,
    )


def check(network: SampleNetwork, contender: Contender) -> float:
    """The largest difference of its parameters from the float64 reference's.

    Raises:
        AssertionError: it is more than rounding can be.
    """
    batch, n = contender.batch, CHECKED
    cond = torch.randn(batch, network.cond_channels, n)
    forced = torch.rand(batch, n) - 0.5
    if network.codes:
        forced = torch.randint(0, network.codes, (batch, n))
    said = contender.make(network, batch)(n, cond, forced)
    wide = network.to(torch.float64)
    heard = torch.cat([forced.new_full((batch, 1), network.first), forced[:, :-1]], dim=1)
    if not network.codes:
        heard = heard.double()
    x = torch.stack([wide.embed(heard[:, t : t + 1]) for t in range(n)], dim=2)
    weights = (wide.conv_weight, wide.conv_bias, wide.out_weight, wide.out_bias)
    options = {"dilations": wide.dilations, "residual_scale": wide.residual_scale}
    _, skip = reference.residual_stack(x, *weights, cond.double(), **options)
    truth = wide.head(skip.transpose(1, 2)).transpose(1, 2)
    apart = float((said - truth).abs().max())
    assert apart < (0.2 if contender.half else 1e-4), apart
    return apart


def bytes_a_sample(network: SampleNetwork, contender: Contender) -> float:
    """Of weights, read once for all signals; those of past taps once in `AHEAD` samples."""
    size = 2 if contender.half else 4
    taps = network.conv_weight.shape[3]
    conv = network.conv_weight.numel() / taps * (1 + (taps - 1) / AHEAD)
    others = (network.out_weight, network.hidden_weight, network.output_weight)
    return size * (conv + sum(weight.numel() for weight in others))


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each contender."""
    network, rate = network_of(NETWORKS[name]), NETWORKS[name].rate
    runs: dict[str, Run] = {}
    rows: list[dict[str, Any]] = []
    for label, contender in CONTENDERS.items():
        apart = check(network, contender)
        batch, n = contender.batch, contender.samples
        loop = contender.make(network, batch)
        cond = torch.randn(batch, n, network.cond_channels).transpose(1, 2)

        def run(
            _: Any, loop: Any = loop, cond: Tensor = cond, one: Contender = contender
        ) -> Tensor:
            torch.set_num_threads(one.threads)
            return loop(one.samples, cond)

        runs[label] = Run(run)
        rows.append({"network": name, "contender": label, "differs_by": apart})
    read: dict[str, tuple[int, Run]] = {}
    for half in (False, True):
        size = int(bytes_a_sample(network, Contender(_eager, half=half)))
        runs[f"read {half}"] = read_run(size, "cpu").lasting(0.05)
        read[f"read {half}"] = size, runs[f"read {half}"]
    samples = interleave(runs, rounds=rounds)
    for row in rows:
        contender = CONTENDERS[row["contender"]]
        median, p10, p90 = (s / contender.samples for s in spread(samples[row["contender"]]))
        key = f"read {contender.half}"
        floor = spread(samples[key])[0]
        row.update(median_us=1e6 * median, p10_us=1e6 * p10, p90_us=1e6 * p90)
        row.update(samples_per_second=contender.batch / median)
        row.update(times_real_time=1 / median / rate, weight_bytes_a_sample=read[key][0])
        row.update(read_gbs=read[key][0] / floor / 1e9, share_of_read=floor / median)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks generation", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=BUILD / "generation-cpu.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    where = environment()
    rows = []
    print("| network | contender | us a sample (10-90 %) | samples/s | x real time | of read |")
    print("|---|---|---:|---:|---:|---:|")
    with torch.inference_mode():
        for name in options.networks:
            for row in measure(name, options.rounds):
                rows.append(row)
                print(
                    f"| {name} | {row['contender']} | {row['median_us']:.1f} "
                    f"({row['p10_us']:.1f}-{row['p90_us']:.1f}) | {row['samples_per_second']:,.0f} "
                    f"| {row['times_real_time']:.2f} | {100 * row['share_of_read']:.0f} % |",
                    flush=True,
                )
    write_results(options.out, {"benchmark": "generation", "rows": rows, **where})
