"""Eager PyTorch as matrix products on channels-last rows: what a careful user writes instead.

`reference` is the obvious eager code, convolutions on (B, C, T). Rows (B, T, C) make every
convolution a matrix product of its gathered taps, with no transposition between the layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet_kernels.reference import padding_of


def residual_stack_rows(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    *,
    dilations: Sequence[int],
    padding: str,
) -> tuple[Tensor, Tensor]:
    """`reference.residual_stack` without conditioning and scale: (B, R, T) -> two views of rows."""
    _, residual, time = x.shape
    taps = conv_weight.shape[3]
    x, skip_sum = x.transpose(1, 2), None
    for layer, dilation in enumerate(dilations):
        padded = F.pad(x, (0, 0, *padding_of(taps, dilation, padding)))
        seen = torch.cat([padded[:, k * dilation :][:, :time] for k in range(taps)], dim=2)
        a = F.linear(seen, tap_by_tap(conv_weight[layer]), conv_bias[layer])
        filter_, gate = a.chunk(2, dim=2)
        z = torch.tanh(filter_) * torch.sigmoid(gate)
        out = F.linear(z, out_weight[layer], out_bias[layer])
        x = x + out[:, :, :residual]
        skip = out[:, :, residual:]
        skip_sum = skip if skip_sum is None else skip_sum + skip
    assert skip_sum is not None
    return x.transpose(1, 2), skip_sum.transpose(1, 2)


def tap_by_tap(weight: Tensor) -> Tensor:
    """A convolution's weight (C, R, K) as the matrix (C, K*R) that gathered taps are fed to."""
    return weight.transpose(1, 2).flatten(1)
