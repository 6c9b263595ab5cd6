"""WaveNet's residual layer and a stack of them as modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsFloat

import torch
import torch.fx
from torch import Tensor, nn
from torch.types import Device

from wavenet_kernels import residual_block, residual_stack, residual_stack_stream
from wavenet_kernels.call import Keep, Padding
from wavenet_kernels.nn.arguments import (
    check_input,
    constant,
    factory,
    integer,
    integers,
    keep_of,
    padding_of,
    probability,
)
from wavenet_kernels.nn.init import init_convolution, init_output

# One node of a symbolic trace, so that backend and grad mode are those of the call.
torch.fx.wrap("residual_block")
torch.fx.wrap("residual_stack")


class ResidualBlock(nn.Module):
    """One residual layer: dilated convolution, gate, and 1x1s to the residual and the skip.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), section 2.4.

    Args:
        residual_channels: R.
        dilation_channels: D, each of filter and gate.
        skip_channels: S; 0 for a layer without a skip output.
        kernel_size: K taps.
        dilation: steps between taps.
        padding: "causal" or "same" (K odd).
        bias: whether the convolution and the 1x1s have biases.
        residual_scale: residual = scale * (x + 1x1(z)); a constant, no tensor.
        dropout: the probability with which an element of what is convolved is zero, in training;
            what is passed on, and a step, lose nothing.
        device, dtype: of the parameters, as of ``torch.nn.Conv1d``.

    Shapes:
        x (B, R, T), cond (B, 2D, T or 1) or None, step (B, R, T or 1) or None -> residual
        (B, R, T), skip (B, S, T).

    Raises:
        TypeError, ValueError: an argument, or an x, that doesn't fit, with what would.
    """

    def __init__(
        self,
        residual_channels: int,
        dilation_channels: int,
        skip_channels: int,
        *,
        kernel_size: int = 2,
        dilation: int = 1,
        padding: Padding = "causal",
        bias: bool = True,
        residual_scale: SupportsFloat = 1.0,
        dropout: SupportsFloat = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        residual = integer(layer, "residual_channels", residual_channels)
        gates = 2 * integer(layer, "dilation_channels", dilation_channels)
        out = residual + integer(layer, "skip_channels", skip_channels, least=0)
        taps = integer(layer, "kernel_size", kernel_size)
        self.dilation = integer(layer, "dilation", dilation)
        self.padding = padding_of(layer, padding, taps)
        self.residual_scale = constant(layer, "residual_scale", residual_scale)
        self.dropout = probability(layer, "dropout", dropout)
        made = factory(layer, device, dtype)
        self.conv_weight = nn.Parameter(torch.empty(gates, residual, taps, **made))
        self.conv_bias = nn.Parameter(torch.empty(gates, **made)) if bias else None
        self.out_weight = nn.Parameter(torch.empty(out, gates // 2, **made))
        self.out_bias = nn.Parameter(torch.empty(out, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset(self.conv_weight, self.conv_bias, self.out_weight, self.out_bias, layers=1)

    def forward(
        self, x: Tensor, cond: Tensor | None = None, step: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The residual (B, R, T) and the skip (B, S, T) of x (B, R, T).

        Args:
            x: (B, R, T).
            cond: (B, 2D, T or 1), added to what goes into the gates.
            step: (B, R, T or 1), added to what is convolved and not to what is passed on.
        """
        check_input(type(self).__name__, x, self.conv_weight.shape[1])
        return residual_block(
            x,
            self.conv_weight,
            self.conv_bias,
            self.out_weight,
            self.out_bias,
            cond,
            dilation=self.dilation,
            padding=self.padding,
            residual_scale=self.residual_scale,
            step=step,
            dropout=self.dropout if self.training else 0.0,
        )

    def extra_repr(self) -> str:
        return (
            f"{_channels(self.conv_weight, self.out_weight)}, dilation={self.dilation}, "
            f"padding={self.padding!r}, bias={self.conv_bias is not None}, "
            f"residual_scale={self.residual_scale:g}, dropout={self.dropout:g}"
        )


class ResidualStack(nn.Module):
    """A chain of residual layers and the sum of their skips, computed as one operator.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), figure 4. The parameters of all layers
    are stacked along a leading L, e.g. `conv_weight` (L, 2D, R, K).

    Args:
        residual_channels, dilation_channels, skip_channels: R, D, S.
        kernel_size: K taps.
        dilations: one for each layer, e.g. ``[2**i for i in range(10)] * 3``.
        padding: "causal" or "same" (K odd).
        bias: whether the convolutions and the 1x1s have biases.
        residual_scale: residual = scale * (x + 1x1(z)), in every layer; a constant, no tensor.
        last_residual: False if only the skip sum is used: the last layer's residual is then not
            computed, its 1x1 gets no gradient, and `forward` returns it empty.
        checkpoint_every: keep every n-th layer's input for backward; n > 1 trades time for memory.
        keep: "auto", "inputs" or "gates": what backward goes on from, as of `residual_stack`.
        dropout: the probability with which an element of what a layer convolves is zero, in
            training; what it passes on, and a step, lose nothing.
        device, dtype: of the parameters, as of ``torch.nn.Conv1d``.

    Shapes:
        x (B, R, T), cond (B, L*2D, T or 1) or None, step (B, L*R, T or 1) or None -> residual
        (B, R, T), skip sum (B, S, T).

    Raises:
        TypeError, ValueError: an argument, or an x, that doesn't fit, with what would.
    """

    def __init__(
        self,
        residual_channels: int,
        dilation_channels: int,
        skip_channels: int,
        *,
        dilations: Iterable[int],
        kernel_size: int = 2,
        padding: Padding = "causal",
        bias: bool = True,
        residual_scale: SupportsFloat = 1.0,
        last_residual: bool = True,
        checkpoint_every: int = 1,
        keep: Keep = "auto",
        dropout: SupportsFloat = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        residual = integer(layer, "residual_channels", residual_channels)
        gates = 2 * integer(layer, "dilation_channels", dilation_channels)
        out = residual + integer(layer, "skip_channels", skip_channels, least=0)
        taps = integer(layer, "kernel_size", kernel_size)
        self.dilations = integers(layer, "dilations", dilations)
        self.padding = padding_of(layer, padding, taps)
        self.residual_scale = constant(layer, "residual_scale", residual_scale)
        self.dropout = probability(layer, "dropout", dropout)
        self.last_residual = last_residual
        self.checkpoint_every = integer(layer, "checkpoint_every", checkpoint_every)
        self.keep = keep_of(layer, keep, self.checkpoint_every)
        layers, made = len(self.dilations), factory(layer, device, dtype)
        self.conv_weight = nn.Parameter(torch.empty(layers, gates, residual, taps, **made))
        self.conv_bias = nn.Parameter(torch.empty(layers, gates, **made)) if bias else None
        self.out_weight = nn.Parameter(torch.empty(layers, out, gates // 2, **made))
        self.out_bias = nn.Parameter(torch.empty(layers, out, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        layers = len(self.dilations)
        _reset(self.conv_weight, self.conv_bias, self.out_weight, self.out_bias, layers)

    @property
    def receptive_field(self) -> int:
        """Steps of input that one output of the stack sees."""
        return 1 + (self.conv_weight.shape[-1] - 1) * sum(self.dilations)

    def forward(
        self, x: Tensor, cond: Tensor | None = None, step: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The residual (B, R, T), empty without `last_residual`, and the skip sum (B, S, T).

        Args:
            x: (B, R, T).
            cond: (B, L*2D, T or 1), added to what goes into the gates; layer l owns channels
                l*2D to (l+1)*2D.
            step: (B, L*R, T or 1), added to what a layer convolves and not to what it passes on;
                layer l owns channels l*R to (l+1)*R.
        """
        check_input(type(self).__name__, x, self.conv_weight.shape[2])
        return residual_stack(
            x,
            self.conv_weight,
            self.conv_bias,
            self.out_weight,
            self.out_bias,
            cond,
            dilations=self.dilations,
            padding=self.padding,
            residual_scale=self.residual_scale,
            last_residual=self.last_residual,
            checkpoint_every=self.checkpoint_every,
            keep=self.keep,
            step=step,
            dropout=self.dropout if self.training else 0.0,
        )

    def initial_state(self, batch: int) -> Tensor:
        """The state for `stream` at the start of a signal: zeros (B, receptive field - 1, R)."""
        return self.conv_weight.new_zeros(
            batch, self.receptive_field - 1, self.conv_weight.shape[2]
        )

    @torch.no_grad()
    def stream(
        self,
        x: Tensor,
        state: Tensor,
        cond: Tensor | None = None,
        step: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next chunk of a signal: residual (B, R, T), skip sum (B, S, T), and the new state.

        Chunks of any sizes, each with the state that the last one returned, equal `forward` over
        the whole signal. Causal padding only; no gradient, no dropout, and no step.
        """
        if step is not None:
            raise ValueError(
                "stream: step is given; accepted is None: what is heard with a step is streamed by "
                "no backend; call the stack on whole signals"
            )
        if self.padding != "causal":
            raise ValueError(f'stream: padding is {self.padding!r}; only "causal" can be streamed')
        check_input(type(self).__name__, x, self.conv_weight.shape[2])
        return residual_stack_stream(
            x,
            state,
            self.conv_weight,
            self.conv_bias,
            self.out_weight,
            self.out_bias,
            cond,
            dilations=self.dilations,
            residual_scale=self.residual_scale,
        )

    def extra_repr(self) -> str:
        return (
            f"{_channels(self.conv_weight[0], self.out_weight[0])}, dilations={self.dilations}, "
            f"padding={self.padding!r}, bias={self.conv_bias is not None}, "
            f"residual_scale={self.residual_scale:g}, last_residual={self.last_residual}, "
            f"checkpoint_every={self.checkpoint_every}, keep={self.keep!r}, "
            f"dropout={self.dropout:g}"
        )


def _reset(
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    layers: int,
) -> None:
    init_convolution(conv_weight)
    init_output(out_weight, layers)
    for bias in (conv_bias, out_bias):
        if bias is not None:
            nn.init.zeros_(bias)


def _channels(conv_weight: Tensor, out_weight: Tensor) -> str:
    residual, kernel_size = conv_weight.shape[1:]
    skip = out_weight.shape[0] - residual
    return f"{residual}, {out_weight.shape[1]}, {skip}, kernel_size={kernel_size}"
