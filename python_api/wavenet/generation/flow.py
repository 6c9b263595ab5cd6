"""A flow of WaveGlow: an invertible 1x1, and a coupling whose network is a residual stack.

Everything is rows here, (B, N, channels) of N steps of `group` samples, which is the memory order
that the operators work in. Source: Prenger et al. 2018, "WaveGlow" (arXiv 1811.00002), section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavenet_kernels import dilated_conv1d
from wavenet_kernels.nn import ResidualStack


class WN(nn.Module):
    """A coupling's network: what half of the channels says about the other half.

    Args:
        inputs: channels of that half.
        condition_channels: of the conditioning.
        channels: C of the layers.
        dilations: of the layers, in steps.
        kernel_size: K of the layers, odd.
        checkpoint_every: as of `ResidualStack`.

    The last 1x1 begins with zeros, so that a coupling begins as the identity. The last layer's
    residual rows are there, and are zeros that nothing uses.
    """

    def __init__(
        self,
        inputs: int,
        condition_channels: int,
        channels: int,
        *,
        dilations: tuple[int, ...],
        kernel_size: int = 3,
        checkpoint_every: int = 1,
    ) -> None:
        super().__init__()
        self.start = nn.Linear(inputs, channels)
        self.condition = nn.Linear(condition_channels, 2 * channels * len(dilations))
        self.stack = ResidualStack(
            channels,
            channels,
            channels,
            dilations=dilations,
            kernel_size=kernel_size,
            padding="same",
            last_residual=False,
            checkpoint_every=checkpoint_every,
        )
        self.end = nn.Linear(channels, 2 * inputs)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)
        with torch.no_grad():
            assert self.stack.out_bias is not None
            self.stack.out_weight[-1, :channels] = 0
            self.stack.out_bias[-1, :channels] = 0

    def forward(self, half: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """half (B, N, inputs), condition (B, N, condition_channels) -> shift and log scale.

        Both (B, N, inputs), in the dtype of `half`, also under autocast and by narrower weights.
        """
        rows = self.start(half.to(self.start.weight.dtype))
        # A third of all multiplications: the operator's, whose rows are what the stack reads.
        weight = self.condition.weight.unsqueeze(2)
        cond = dilated_conv1d(condition.transpose(1, 2), weight, self.condition.bias)
        _, skip = self.stack(rows.transpose(1, 2), cond)
        shift, log_scale = self.end(skip.transpose(1, 2)).to(half.dtype).chunk(2, dim=2)
        return shift, log_scale


class InvertibleConv1x1(nn.Module):
    """A square matrix over channels, beginning as a random rotation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
        if torch.linalg.det(rotation) < 0:
            rotation[:, 0] = -rotation[:, 0]
        self.weight = nn.Parameter(rotation.to(torch.get_default_dtype()))

    def forward(self, rows: Tensor) -> Tensor:
        """(B, N, channels) -> the same."""
        return times(rows, self.weight.to(rows.dtype).T)

    def inverse(self, rows: Tensor, inverted: Tensor | None = None) -> Tensor:
        """What `forward` makes these of; the inverse is a given one, or that of the weight now."""
        if inverted is None:
            inverted = self.inverted()
        return times(rows, inverted.to(rows.dtype).T)

    def inverted(self) -> Tensor:
        """The inverse matrix, in float64, which costs nothing here."""
        return torch.linalg.inv(self.weight.double())

    def log_determinant(self) -> Tensor:
        """log |det W|, a scalar: the sign doesn't count."""
        determinant: Tensor = torch.linalg.slogdet(_wide(self.weight)).logabsdet
        return determinant


class Flow(nn.Module):
    """An invertible 1x1, then a coupling: one half is scaled and shifted by what the other says.

    Args:
        convolution: over all channels.
        network: of half of them.
        by_second_half: the second half says, of the first.
    """

    def __init__(
        self, convolution: InvertibleConv1x1, network: WN, by_second_half: bool = False
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.network = network
        self.by_second_half = by_second_half

    def forward(self, rows: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, c) -> the same, and the couplings' log-determinant (B,), without the 1x1's."""
        says, changed = self.halves(self.convolution(rows))
        shift, log_scale = self.network(says, condition)
        return self.whole(says, log_scale.exp() * changed + shift), log_scale.sum((1, 2))

    def inverse(self, rows: Tensor, condition: Tensor, inverted: Tensor | None = None) -> Tensor:
        """What `forward` makes these of; with the 1x1's inverse, if it is there already."""
        says, changed = self.halves(rows)
        shift, log_scale = self.network(says, condition)
        mixed = self.whole(says, (changed - shift) * (-log_scale).exp())
        return self.convolution.inverse(mixed, inverted)

    def halves(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What says, and what is changed."""
        first, second = rows.chunk(2, dim=2)
        return (second, first) if self.by_second_half else (first, second)

    def whole(self, says: Tensor, changed: Tensor) -> Tensor:
        """The halves where they were."""
        return torch.cat((changed, says) if self.by_second_half else (says, changed), dim=2)


def times(rows: Tensor, matrix: Tensor) -> Tensor:
    """A product that autocast leaves alone: what passes the flows is sound."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ matrix


def _wide(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
