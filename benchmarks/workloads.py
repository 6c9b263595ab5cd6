"""The networks that are measured: sizes, tensors, and how many operations they are."""

from __future__ import annotations

from dataclasses import dataclass

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


def for_gpu(workload: Workload) -> Workload:
    """The same network, at full depth, on a batch that fills a GPU."""
    stacks = {"reference": 3, "vocoder": 4}.get(workload.name, 1)
    batch = 32 if workload.batch == 1 else 256
    values = {**vars(workload), "dilations": workload.dilations * stacks, "batch": batch}
    return Workload(**values)
