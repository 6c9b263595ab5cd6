"""The networks that are measured: sizes, tensors, and how many operations they are.

Any other is given on a command line: `parse`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Workload:
    """A residual stack on a batch of signals."""

    name: str
    residual: int
    dilation_channels: int
    skip: int
    taps: int
    dilations: tuple[int, ...]
    batch: int
    time: int
    padding: str = "causal"

    @property
    def forward_flops(self) -> float:
        """4KRD + 2D(R+S) a position and layer; a training step is three times that."""
        conv = 4 * self.taps * self.residual * self.dilation_channels
        out = 2 * self.dilation_channels * (self.residual + self.skip)
        return float((conv + out) * len(self.dilations) * self.batch * self.time)

    def flops(self, what: str) -> float:
        """Of a pass: backward is twice forward, whatever a contender computes again."""
        return self.forward_flops * {"forward": 1, "backward": 2, "step": 3}[what]

    def minimal_bytes(self, what: str, dtype: torch.dtype) -> float:
        """What a pass must move when every layer is one kernel, weights left aside.

        Forward reads x, writes the next x, and reads and writes the skip sum; backward reads x
        and the gradients of residual and skip, and writes that of x.
        """
        forward = 2 * self.residual + 2 * self.skip
        backward = 3 * self.residual + self.skip
        elements = {"forward": forward, "backward": backward, "step": forward + backward}[what]
        return float(elements * dtype.itemsize * len(self.dilations) * self.batch * self.time)

    @property
    def sizes(self) -> str:
        """As a table names them, e.g. "R=D=64, S=128, K=2, 10 layers, T=16,000"."""
        sizes: dict[int, str] = {}
        channels = {"R": self.residual, "D": self.dilation_channels, "S": self.skip}
        for symbol, size in channels.items():
            sizes[size] = f"{sizes[size]}={symbol}" if size in sizes else symbol
        parts = [f"{symbols}={size}" for size, symbols in sizes.items()]
        parts += [f"K={self.taps}", f"{len(self.dilations)} layers"]
        parts += [f'"{self.padding}"'] if self.padding != "causal" else []
        parts += [f"B={self.batch}"] if self.batch > 1 else []
        return ", ".join([*parts, f"T={self.time:,}"])

    def tensors(self, device: str, dtype: torch.dtype) -> list[Tensor]:
        """x, conv_weight, conv_bias, out_weight, out_bias of `residual_stack`."""
        generator = torch.Generator().manual_seed(0)

        def make(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(*shape, generator=generator)).to(device, dtype)

        layers, gated = len(self.dilations), 2 * self.dilation_channels
        out = self.residual + self.skip
        return [
            make(self.batch, self.residual, self.time),
            make(
                layers, gated, self.residual, self.taps, scale=(self.residual * self.taps) ** -0.5
            ),
            make(layers, gated, scale=0.1),
            make(layers, out, self.dilation_channels, scale=self.dilation_channels**-0.5 / layers),
            make(layers, out, scale=0.1),
        ]


SYMBOLS = {
    "R": "residual",
    "D": "dilation_channels",
    "S": "skip",
    "K": "taps",
    "B": "batch",
    "T": "time",
}


def parse(text: str) -> Workload:
    """A workload such as "R=64,D=64,S=128,K=2,L=10,stacks=3,B=1,T=16000,padding=same".

    L: layers of a stack, with dilations 1, 2, 4, ... What is not given is as in that example, but
    one causal stack; D is R where only R is given.

    Raises:
        ValueError: another name, or a value that is not a number above 0 or a padding.
    """
    values: dict[str, int] = {"R": 64, "S": 128, "K": 2, "L": 10, "stacks": 1, "B": 1, "T": 16000}
    padding = "causal"
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == "padding" and value in ("causal", "same"):
            padding = value
        elif name in (*values, "D") and value.isdecimal() and int(value):
            values[name] = int(value)
        else:
            raise ValueError(
                f"workload {text!r}: {part.strip()!r} is not one of "
                f"{', '.join((*values, 'D'))}=NUMBER and padding=causal|same"
            )
    values.setdefault("D", values["R"])
    sizes = {field: values[symbol] for symbol, field in SYMBOLS.items()}
    return Workload(
        text, dilations=_powers(values["L"], values["stacks"]), padding=padding, **sizes
    )


@dataclass(frozen=True)
class StreamWorkload:
    """A causal residual stack that is fed a signal `stack.time` samples a call."""

    name: str
    stack: Workload

    @property
    def chunk(self) -> int:
        """Samples a call."""
        return self.stack.time

    @property
    def signal(self) -> Workload:
        """The same stack on whole chunks that fill the longest history twice over."""
        longest = (self.stack.taps - 1) * max(self.stack.dilations)
        return replace(self.stack, time=self.chunk * (1 + math.ceil(2 * longest / self.chunk)))


def _powers(layers: int, stacks: int = 1) -> tuple[int, ...]:
    return tuple(2**i for i in range(layers)) * stacks


# Sizes for a CPU; on a GPU batch and stacks grow (see `for_gpu`).
WORKLOADS = (
    Workload("reference", 64, 64, 128, 2, _powers(10), 1, 16000),
    Workload("small", 32, 32, 64, 2, _powers(9, 2), 1, 16000),
    Workload("vocoder", 128, 128, 128, 3, _powers(6), 1, 8000),
    Workload("flow", 256, 256, 256, 3, _powers(8), 1, 2000, padding="same"),
    Workload("clips", 32, 32, 64, 2, _powers(7, 2), 32, 500),
)

# On a GPU alone: a signal so short that launching the kernels is the whole story.
GPU_WORKLOADS = (Workload("launches", 64, 64, 128, 2, _powers(10, 3), 1, 1000),)

STREAMS = (
    StreamWorkload("reference", Workload("reference", 64, 64, 128, 2, _powers(10, 3), 1, 160)),
    StreamWorkload("reference-1", Workload("reference", 64, 64, 128, 2, _powers(10, 3), 1, 1)),
    # As nv-wavenet's, NVIDIA's engine for autoregressive generation, is measured.
    StreamWorkload("generation", Workload("generation", 64, 64, 256, 2, _powers(10, 2), 1, 1)),
    StreamWorkload("small-1", Workload("small", 32, 32, 64, 2, _powers(9, 2), 1, 1)),
    StreamWorkload("amplifier", Workload("amplifier", 16, 16, 16, 3, _powers(10, 2), 1, 64)),
)


def for_gpu(workload: Workload) -> Workload:
    """The same network, at full depth, on a batch that fills a GPU."""
    stacks = {"reference": 3, "vocoder": 4}.get(workload.name, 1)
    batch = 32 if workload.batch == 1 else 256
    return replace(workload, dilations=workload.dilations * stacks, batch=batch)
