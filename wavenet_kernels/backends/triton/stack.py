"""A stack of residual layers, layer after layer: forward, backward, and fed chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wavenet_kernels.backends.triton import layers
from wavenet_kernels.backends.triton.launch import on_device_of
from wavenet_kernels.backends.triton.layers import Layer, LayerGradients
from wavenet_kernels.rows import channels_last, empty_rows

# conv_weight (L, 2D, R, K), conv_bias (L, 2D), out_weight (L, R+S, D), out_bias (L, R+S)
Weights = Sequence[Tensor | None]


def layers_of(
    weights: Weights,
    cond: Tensor | None,
    dilations: Sequence[int],
    padding: str,
    residual_scale: float,
) -> list[Layer]:
    """The layers of a stack; cond (B, L*2D, T or 1) is sliced in place."""
    conv_weight, conv_bias, out_weight, out_bias = weights
    assert conv_weight is not None and out_weight is not None
    conv, out = layers.packed_gate(conv_weight), out_weight.contiguous()
    conv_bias = None if conv_bias is None else conv_bias.contiguous()
    out_bias = None if out_bias is None else out_bias.contiguous()
    cond, gated = channels_last(cond), conv_weight.shape[1]
    return [
        Layer(
            conv[n],
            None if conv_bias is None else conv_bias[n],
            out[n],
            None if out_bias is None else out_bias[n],
            None if cond is None else cond.narrow(1, n * gated, gated),
            dilation,
            padding,
            residual_scale,
        )
        for n, dilation in enumerate(dilations)
    ]


def forward(
    stack: Sequence[Layer], x: Tensor, last_residual: bool, checkpoint_every: int, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Residual, skip sum, and the inputs of every `checkpoint_every`-th layer but the first."""
    batch, channels, time = x.shape
    residual = empty_rows(x, batch, channels if last_residual else 0, time)
    skip = empty_rows(x, batch, stack[0].sizes["S"], time)
    kept = len(range(checkpoint_every, len(stack), checkpoint_every)) if save else 0
    saved = x.new_empty(kept, batch, time, channels)
    # Inputs that are not saved alternate between two buffers, counted from the end: the last layer
    # may write to the second of them, its residual, and its own input must not be there.
    scratch: list[Tensor] = []
    outputs: list[Tensor | None] = [residual if last_residual else None]
    unsaved = 0
    for n in range(len(stack) - 1, 0, -1):
        if kept and n % checkpoint_every == 0:
            outputs.append(saved[n // checkpoint_every - 1].transpose(1, 2))
            continue
        if unsaved < 2:
            reuse = unsaved == 1 and last_residual
            scratch.append(residual if reuse else empty_rows(x, batch, channels, time))
        outputs.append(scratch[unsaved % 2])
        unsaved += 1
    x = channels_last(x)
    for n, (layer, output) in enumerate(zip(stack, reversed(outputs), strict=True)):
        if output is not None or skip.shape[1]:
            layers.forward(layer, x, residual=output, skip=skip, accumulate_skip=n > 0)
        if output is not None:
            x = output
    return residual, skip, saved


@dataclass
class StackGradients:
    """Of x and cond in rows order (absent: not wanted); of every layer, last one first."""

    x: Tensor | None
    cond: Tensor | None
    skip_bias: Tensor  # (S,), of every layer
    layers: list[LayerGradients]

    def weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As the operator has them: conv_weight (L, 2D, R, K), conv_bias, out_weight, out_bias."""
        found = self.layers[::-1]
        outs = [of.out for of in found if of.out is not None]
        biases = [of.residual_bias for of in found if of.residual_bias is not None]
        return (
            layers.unpacked_gate(torch.stack([of.conv for of in found])).to(dtype),
            torch.stack([of.conv_bias for of in found]).to(dtype),
            torch.stack(outs).to(dtype),
            torch.stack([torch.cat([bias, self.skip_bias]) for bias in biases]).to(dtype),
        )


def backward(
    stack: Sequence[Layer],
    x: Tensor,
    saved: Tensor,
    grad_residual: Tensor | None,
    grad_skip: Tensor | None,
    checkpoint_every: int,
    want_x: bool,
    cond: Tensor | None,
) -> StackGradients:
    """The gradients of a stack whose forward kept `saved`; cond: None if its is not wanted."""
    batch, channels, time = x.shape
    gated = 2 * stack[0].sizes["D"]
    grad_cond = None if cond is None else empty_rows(x, *cond.shape)
    local = cond is not None and cond.shape[2] == time
    x, grad_skip = channels_last(x), layers.side_by_side(grad_skip)
    found: list[LayerGradients] = []
    # Two: a layer reads its output's gradient at rows where other programs write its input's.
    buffers = [empty_rows(x, *x.shape) for _ in range(min(2, len(stack)))]
    grad, grad_x = grad_residual, None
    for first in reversed(range(0, len(stack), checkpoint_every)):
        segment = stack[first : first + checkpoint_every]
        inputs = [saved[first // checkpoint_every - 1].transpose(1, 2) if first else x]
        for layer in segment[:-1]:
            inputs.append(empty_rows(x, *x.shape))
            layers.forward(layer, inputs[-2], residual=inputs[-1])
        for n in reversed(range(first, first + len(segment))):
            layer = stack[n]
            grad_x = buffers[n % len(buffers)] if n > 0 or want_x else None
            of_layer = grad_cond.narrow(1, n * gated, gated) if grad_cond is not None else None
            run = layers.fused_backward if layers.is_fused(layer, x) else layers.backward
            gradients = run(
                layer,
                inputs.pop(),
                grad,
                grad_skip,
                grad_x,
                of_layer if local else None,
            )
            if of_layer is not None and not local:
                of_layer.copy_(gradients.a_sums.unsqueeze(2))
            found.append(gradients)
            grad = grad_x
    skip_bias = x.new_empty(0) if grad_skip is None else layers.over_rows(grad_skip)
    return StackGradients(grad_x, grad_cond, skip_bias, found)


def stream(stack: Sequence[Layer], x: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Residual, skip sum and new state of one chunk; state (B, sum of left, R)."""
    batch, channels, time = x.shape
    skip = empty_rows(x, batch, stack[0].sizes["S"], time)
    new_state = state.new_empty(state.shape)
    x, state = channels_last(x), state.contiguous()
    start = 0
    for n, layer in enumerate(stack):
        end = start + layer.left
        past, new_past = state[:, start:end], new_state[:, start:end]
        kept = max(0, layer.left - time)
        new_past[:, :kept] = past[:, layer.left - kept :]
        new_past[:, kept:] = x.transpose(1, 2)[:, time - (layer.left - kept) :]
        residual = empty_rows(x, batch, channels, time)
        layers.forward(
            layer, x, residual=residual, skip=skip, accumulate_skip=n > 0,
            past=past if layer.left else None,
        )  # fmt: skip
        x, start = residual, end
    return x, skip, new_state


class Stream:
    """The operator, with its weights and state."""

    def __init__(
        self, weights: Weights, dilations: Sequence[int], residual_scale: float, batch: int
    ) -> None:
        conv_weight = weights[0]
        assert conv_weight is not None
        self._layers = layers_of(weights, None, dilations, "causal", residual_scale)
        rows = (conv_weight.shape[3] - 1) * sum(dilations)
        self._state = conv_weight.new_zeros(batch, rows, conv_weight.shape[2])

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        stack = self._layers
        if cond is not None:
            gated = 2 * stack[0].sizes["D"]
            cond = channels_last(cond)
            stack = [
                replace(layer, cond=cond.narrow(1, n * gated, gated))
                for n, layer in enumerate(stack)
            ]
        with torch.no_grad(), on_device_of(x):
            residual, skip, state = stream(stack, x, self._state)
            self._state.copy_(state)  # in place: a captured step goes on from it
        return residual, skip

    def reset(self) -> None:
        self._state.zero_()
