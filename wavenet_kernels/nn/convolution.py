"""Causal and gated convolutions as modules."""

from __future__ import annotations

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from wavenet_kernels import dilated_conv1d, gated_conv1d
from wavenet_kernels.call import Padding
from wavenet_kernels.nn.arguments import check_input, factory, integer, padding_of
from wavenet_kernels.nn.init import init_convolution

# One node of a symbolic trace, so that backend and grad mode are those of the call.
torch.fx.wrap("dilated_conv1d")
torch.fx.wrap("gated_conv1d")


@torch.fx.wrap
def _strided_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int
) -> Tensor:
    """(B, R, T) -> (B, C, ceil(T / stride)), by torch's own operators.

    A strided layer stands once, at the front of a network. Of one channel a product is faster than
    a convolution, and gives the rows that a stack works on.
    """
    if not torch.jit.is_tracing() and x.shape[2] == 0:
        return dilated_conv1d(x, weight, bias, dilation=dilation)
    outputs, channels, taps = weight.shape
    x = F.pad(x, ((taps - 1) * dilation, 0))
    recorded = torch.jit.is_tracing() or torch.compiler.is_compiling()
    if recorded or channels > 1 or dilation > 1:
        return F.conv1d(x, weight, bias, stride, 0, dilation)
    windows = x.squeeze(1).unfold(1, taps, stride)
    rows = F.linear(windows.flatten(0, 1), weight.squeeze(1), bias)
    return rows.view(*windows.shape[:2], outputs).transpose(1, 2)


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
        device, dtype: of the parameters, as of ``torch.nn.Conv1d``.

    Shapes:
        x (B, R, T) -> (B, C, ceil(T / stride)). `weight` (C, R, K) and `bias` (C,) are those of
        ``torch.nn.Conv1d``, so its state dict loads.

    Raises:
        TypeError, ValueError: an argument, or an x, that doesn't fit, with what would.
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
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        self.in_channels = integer(layer, "in_channels", in_channels)
        self.out_channels = integer(layer, "out_channels", out_channels)
        self.kernel_size = integer(layer, "kernel_size", kernel_size)
        self.dilation = integer(layer, "dilation", dilation)
        self.stride = integer(layer, "stride", stride)
        made = factory(layer, device, dtype)
        outputs = self.out_channels
        self.weight = nn.Parameter(torch.empty(outputs, self.in_channels, self.kernel_size, **made))
        self.bias = nn.Parameter(torch.empty(outputs, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_convolution(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in_channels, T) -> (B, out_channels, ceil(T / stride))."""
        check_input(type(self).__name__, x, self.in_channels)
        if self.stride == 1:
            return dilated_conv1d(x, self.weight, self.bias, dilation=self.dilation)
        return _strided_conv1d(x, self.weight, self.bias, self.stride, self.dilation)

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
        device, dtype: of the parameters, as of ``torch.nn.Conv1d``.

    Shapes:
        x (B, R, T), cond (B, 2D, T or 1) or None -> (B, D, T). `weight` (2D, R, K) holds the
        filter half first.

    Raises:
        TypeError, ValueError: an argument, or an x, that doesn't fit, with what would.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        padding: Padding = "causal",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        self.in_channels = integer(layer, "in_channels", in_channels)
        self.out_channels = integer(layer, "out_channels", out_channels)
        self.kernel_size = integer(layer, "kernel_size", kernel_size)
        self.dilation = integer(layer, "dilation", dilation)
        self.padding = padding_of(layer, padding, self.kernel_size)
        made = factory(layer, device, dtype)
        outputs = 2 * self.out_channels
        self.weight = nn.Parameter(torch.empty(outputs, self.in_channels, self.kernel_size, **made))
        self.bias = nn.Parameter(torch.empty(outputs, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_convolution(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """(B, D, T) of x (B, R, T); cond (B, 2D, T or 1) is added to what goes into the gates."""
        check_input(type(self).__name__, x, self.in_channels)
        return gated_conv1d(
            x, self.weight, self.bias, cond, dilation=self.dilation, padding=self.padding
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding!r}, bias={self.bias is not None}"
        )
