"""Streaming in eager PyTorch: three ways to keep the history, with the interface of StackStream.

`StreamConv` is the obvious one, the other two are what a careful user makes of it. All return
tensors (B, C, n), and are for use without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.operators.eager import tap_by_tap

# Samples that a sliding history takes before it moves back to its start.
ROOM = 4096


def _gate(a: Tensor, dim: int) -> Tensor:
    filter_, gate = a.chunk(2, dim=dim)
    return filter_.tanh_().mul_(gate.sigmoid_())


class StreamConv:
    """F.conv1d over [history, chunk]; the next history is a view of that, never copied out."""

    def __init__(
        self,
        conv_weight: Tensor,
        conv_bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        *,
        dilations: Sequence[int],
        batch: int = 1,
    ) -> None:
        self.layers = list(
            zip(dilations, conv_weight, conv_bias, out_weight.unsqueeze(3), out_bias, strict=True)
        )
        _, _, residual, taps = conv_weight.shape
        self.histories = [
            conv_weight.new_zeros(batch, residual, (taps - 1) * dilation) for dilation in dilations
        ]

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        residual, chunk = x.shape[1:]
        skip_sum: Tensor | None = None
        for layer, (dilation, weight, bias, out_weight, out_bias) in enumerate(self.layers):
            seen = torch.cat([self.histories[layer], x], dim=2)
            self.histories[layer] = seen[:, :, chunk:]
            z = _gate(F.conv1d(seen, weight, bias, dilation=dilation), dim=1)
            out = F.conv1d(z, out_weight, out_bias)
            x = x + out[:, :residual]
            skip = out[:, residual:]
            skip_sum = skip if skip_sum is None else skip_sum.add_(skip)
        assert skip_sum is not None
        return x, skip_sum


class StreamRows:
    """Rows in preallocated sliding histories; only the taps are gathered, F.linear does the rest.

    A layer's output is written where the next layer's history wants it.
    """

    def __init__(
        self,
        conv_weight: Tensor,
        conv_bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        *,
        dilations: Sequence[int],
        batch: int = 1,
    ) -> None:
        matrices = map(tap_by_tap, conv_weight)
        self.layers = list(zip(dilations, matrices, conv_bias, out_weight, out_bias, strict=True))
        _, _, residual, self.taps = conv_weight.shape
        self.pasts = [(self.taps - 1) * dilation for dilation in dilations]
        self.rows = [conv_weight.new_zeros(batch, past + ROOM, residual) for past in self.pasts]
        self.at = 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        residual, chunk = x.shape[1:]
        if self.at + chunk > ROOM:
            for rows, past in zip(self.rows, self.pasts, strict=True):
                rows[:, :past] = rows[:, self.at : self.at + past].clone()
            self.at = 0
        # Where this chunk goes in the history of each layer.
        places = [
            rows[:, self.at + past : self.at + past + chunk]
            for rows, past in zip(self.rows, self.pasts, strict=True)
        ]
        x = places[0].copy_(x.transpose(1, 2))
        skip_sum: Tensor | None = None
        for layer, (dilation, matrix, bias, out_weight, out_bias) in enumerate(self.layers):
            firsts = [self.at + k * dilation for k in range(self.taps)]
            rows = self.rows[layer]
            seen = torch.cat([rows[:, first : first + chunk] for first in firsts], dim=2)
            z = _gate(F.linear(seen, matrix, bias), dim=2)
            out = F.linear(z, out_weight, out_bias)
            place = places[layer + 1] if layer + 1 < len(places) else torch.empty_like(x)
            x = torch.add(x, out[:, :, :residual], out=place)
            skip = out[:, :, residual:]
            skip_sum = skip if skip_sum is None else skip_sum.add_(skip)
        assert skip_sum is not None
        self.at += chunk
        return x.transpose(1, 2), skip_sum.transpose(1, 2)


class StreamRing:
    """Sample by sample: a ring in which the taps that a sample sees lie side by side.

    The ring of dilation d has d slots of K samples: sample t goes to slot t mod d, there to place
    (t div d) mod K. So a slot is the convolution's input, its taps rotated by that place, and the
    weight is kept in all K rotations. Views of everything are made once.
    """

    def __init__(
        self,
        conv_weight: Tensor,
        conv_bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        *,
        dilations: Sequence[int],
        batch: int = 1,
    ) -> None:
        _, _, residual, taps = conv_weight.shape
        self.time = 0
        self.layers = []
        self.places: list[list[Tensor]] = []
        for layer, dilation in enumerate(dilations):
            ring = conv_weight.new_zeros(dilation, batch, taps, residual)
            slots = list(ring.flatten(2))
            turned = [
                tap_by_tap(conv_weight[layer].roll(place + 1, dims=2)) for place in range(taps)
            ]
            self.layers.append(
                (slots, turned, conv_bias[layer], out_weight[layer], out_bias[layer])
            )
            self.places.append([slot[:, k] for k in range(taps) for slot in ring])

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        residual = x.shape[1]
        places = [views[self.time % len(views)] for views in self.places]
        x = places[0].copy_(x[:, :, 0])
        skip_sum: Tensor | None = None
        for layer, (slots, turned, bias, out_weight, out_bias) in enumerate(self.layers):
            turn, slot = divmod(self.time, len(slots))
            z = _gate(F.linear(slots[slot], turned[turn % len(turned)], bias), dim=1)
            out = F.linear(z, out_weight, out_bias)
            place = places[layer + 1] if layer + 1 < len(places) else torch.empty_like(x)
            x = torch.add(x, out[:, :residual], out=place)
            skip = out[:, residual:]
            skip_sum = skip if skip_sum is None else skip_sum.add_(skip)
        assert skip_sum is not None
        self.time += 1
        return x.unsqueeze(2), skip_sum.unsqueeze(2)
