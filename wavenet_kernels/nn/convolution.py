"""Causal and gated convolutions as modules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet_kernels import dilated_conv1d, gated_conv1d
from wavenet_kernels.nn.init import init_convolution


class CausalConv1d(nn.Module):
    """A dilated, optionally strided convolution whose output at t sees the input at <= t only.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), section 2.1. With stride s, output j is
    the one whose newest input is j*s, so T inputs give ceil(T / s) outputs.

    Args:
        in_channels, out_channels: R and C.
        kernel_size: K taps.
        dilation: steps between taps.
        stride: steps between outputs.
        bias: whether outputs have an additive bias.

    Shapes:
        x (B, R, T) -> (B, C, ceil(T / stride)). `weight` (C, R, K) and `bias` (C,) are those of
        ``torch.nn.Conv1d``, so its state dict loads.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_convolution(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return dilated_conv1d(x, self.weight, self.bias, dilation=self.dilation)
        # A strided layer stands once, at the front of a network: torch's own operators do. Of one
        # channel a product is faster than a convolution, and gives the rows that a stack works on.
        x = F.pad(x, ((self.kernel_size - 1) * self.dilation, 0))
        if self.in_channels == self.dilation == 1 and not torch.compiler.is_compiling():
            taps = x.squeeze(1).unfold(1, self.kernel_size, self.stride)
            rows = F.linear(taps.flatten(0, 1), self.weight.squeeze(1), self.bias)
            return rows.view(*taps.shape[:2], self.out_channels).transpose(1, 2)
        return F.conv1d(x, self.weight, self.bias, self.stride, 0, self.dilation)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, stride={self.stride}, bias={self.bias is not None}"
        )


class GatedConv1d(nn.Module):
    """A dilated convolution with WaveNet's gate, ``tanh(W_f * x) sigmoid(W_g * x)``.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), equation 2.

    Args:
        in_channels, out_channels: R and D; the convolution itself has 2D outputs.
        kernel_size: K taps.
        dilation: steps between taps.
        padding: "causal" or "same" (K odd).
        bias: whether the pre-activations have an additive bias.

    Shapes:
        x (B, R, T), cond (B, 2D, T or 1) or None -> (B, D, T). `weight` (2D, R, K) holds the
        filter half first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        padding: str = "causal",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(2 * out_channels, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.empty(2 * out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_convolution(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return gated_conv1d(
            x, self.weight, self.bias, cond, dilation=self.dilation, padding=self.padding
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding!r}, bias={self.bias is not None}"
        )
