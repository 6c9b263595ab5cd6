"""The backend of plain PyTorch: every operator on every device and dtype that torch has.

Forward is `wavenet_kernels.reference`; backward is the gradient of it worked out by hand, layer by
layer, with the pre-activations recomputed from the layer's input. Whoever writes a kernel finds
here the formulas that it must implement, in the order in which it will compute them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet_kernels import reference
from wavenet_kernels.rows import empty_rows

NAME = "reference"

# A layer's tensors as `residual_block` takes them after x: conv_weight, conv_bias, out_weight,
# out_bias, cond.
_LayerTensors = tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None]


def unavailable() -> str | None:
    """PyTorch is always there."""
    return None


def describe() -> str:
    return f"plain PyTorch {torch.__version__}, any device and dtype"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    return _rows(reference.gated_activation(a, cond))


def gated_activation_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    return _rows(_gate_backward(grad, a if cond is None else a + cond))


def dilated_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, padding: str
) -> Tensor:
    return _rows(reference.dilated_conv1d(x, weight, bias, dilation=dilation, padding=padding))


def dilated_conv1d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    grads = _conv_backward(grad, x, weight, dilation, padding, output_mask[0])
    return _masked(grads, output_mask)


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    return _rows(reference.gated_conv1d(x, weight, bias, cond, dilation=dilation, padding=padding))


def gated_conv1d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    a = _preactivation(x, weight, bias, cond, dilation, padding)
    grad_a = _gate_backward(grad, a)
    grads = _conv_backward(grad_a, x, weight, dilation, padding, output_mask[0])
    return _masked((*grads, _cond_gradient(grad_a, cond)), output_mask)


def residual_block(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    residual_scale: float,
) -> tuple[Tensor, Tensor]:
    residual, skip = reference.residual_block(
        x,
        conv_weight,
        conv_bias,
        out_weight,
        out_bias,
        cond,
        dilation=dilation,
        padding=padding,
        residual_scale=residual_scale,
    )
    return _rows(residual), _rows(skip)


def residual_block_backward(
    grad_residual: Tensor | None,
    grad_skip: Tensor,
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
    residual_scale: float,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    """Gradients of (x, conv_weight, conv_bias, out_weight, out_bias, cond).

    grad_residual is None for a stack's last layer whose residual was not computed.
    """
    a = _preactivation(x, conv_weight, conv_bias, cond, dilation, padding)
    z = reference.gated_activation(a)
    if grad_residual is None:
        grad_out = F.pad(grad_skip, (0, 0, x.shape[1], 0))
    else:
        grad_out = torch.cat([residual_scale * grad_residual, grad_skip], dim=1)
    grad_z = F.conv1d(grad_out, out_weight.t().unsqueeze(-1))
    grad_a = _gate_backward(grad_z, a)
    grad_x, grad_conv_weight, grad_conv_bias = _conv_backward(
        grad_a, x, conv_weight, dilation, padding, output_mask[0]
    )
    if grad_residual is not None:
        grad_x = grad_x + residual_scale * grad_residual if output_mask[0] else grad_x
    grad_out_weight = _channels_first(grad_out) @ _channels_first(z).t()
    grad_out_bias = grad_out.sum((0, 2))
    grad_cond = _cond_gradient(grad_a, cond)
    return _masked(
        (grad_x, grad_conv_weight, grad_conv_bias, grad_out_weight, grad_out_bias, grad_cond),
        output_mask,
    )


def residual_stack(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
    padding: str,
    residual_scale: float,
    last_residual: bool,
    checkpoint_every: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, time = x.shape
    skip_sum = x.new_zeros(batch, out_weight.shape[1] - channels, time)
    kept = []
    layers = _layers(conv_weight, conv_bias, out_weight, out_bias, cond, dilations)
    for index, (tensors, dilation) in enumerate(layers):
        if save and index > 0 and index % checkpoint_every == 0:
            kept.append(x.transpose(1, 2))
        if index == len(layers) - 1 and not last_residual:
            skip_sum = skip_sum + _skip_alone(x, *tensors, dilation, padding)
            x = empty_rows(x, batch, 0, time)
        else:
            x, skip = reference.residual_block(
                x, *tensors, dilation=dilation, padding=padding, residual_scale=residual_scale
            )
            skip_sum = skip_sum + skip
    saved = torch.stack(kept) if kept else x.new_empty(0, batch, time, channels)
    return _rows(x), _rows(skip_sum), saved.contiguous()


def _skip_alone(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    """The skip of a layer whose residual nobody needs."""
    z = reference.gated_conv1d(x, conv_weight, conv_bias, cond, dilation=dilation, padding=padding)
    residual = x.shape[1]
    if out_weight.shape[0] == residual:
        return z[:, :0]
    bias = None if out_bias is None else out_bias[residual:]
    return F.conv1d(z, out_weight[residual:].unsqueeze(-1), bias)


def residual_stack_backward(
    grad_residual: Tensor,
    grad_skip: Tensor,
    x: Tensor,
    saved: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
    padding: str,
    residual_scale: float,
    last_residual: bool,
    checkpoint_every: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    layers = _layers(conv_weight, conv_bias, out_weight, out_bias, cond, dilations)
    of_layers: list[tuple[Tensor, ...]] = []  # conv_weight, ..., cond; last layer first
    grad = grad_residual if last_residual else None
    for first in reversed(range(0, len(layers), checkpoint_every)):
        segment = layers[first : first + checkpoint_every]
        inputs = [saved[first // checkpoint_every - 1].transpose(1, 2) if first else x]
        for tensors, dilation in segment[:-1]:
            residual, _ = reference.residual_block(
                inputs[-1],
                *tensors,
                dilation=dilation,
                padding=padding,
                residual_scale=residual_scale,
            )
            inputs.append(residual)
        for index in reversed(range(len(segment))):
            tensors, dilation = segment[index]
            # Whether or not the caller asks for x's gradient, all layers but the first need it.
            mask = [output_mask[0] or first + index > 0, *output_mask[1:]]
            gradients = residual_block_backward(
                grad,
                grad_skip,
                inputs[index],
                *tensors,
                dilation,
                padding,
                residual_scale,
                mask,
            )
            grad = gradients[0]
            of_layers.append(gradients[1:])
    of_layers.reverse()
    *weights, cond_pieces = zip(*of_layers, strict=True)
    grad_cond = torch.cat(cond_pieces, dim=1) if output_mask[5] else None
    return _masked((grad, *(torch.stack(pieces) for pieces in weights), grad_cond), output_mask)


def residual_stack_stream(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
    residual_scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    residual, skip, new_state = reference.residual_stack_stream(
        x,
        state,
        conv_weight,
        conv_bias,
        out_weight,
        out_bias,
        cond,
        dilations=dilations,
        residual_scale=residual_scale,
    )
    return _rows(residual), _rows(skip), new_state


class _Stream:
    """The operator, with its weights and state."""

    def __init__(
        self,
        weights: Sequence[Tensor | None],
        dilations: Sequence[int],
        residual_scale: float,
        batch: int,
    ) -> None:
        self._weights = [None if w is None else w.clone() for w in weights]
        self._dilations, self._residual_scale = list(dilations), residual_scale
        conv_weight = weights[0]
        assert conv_weight is not None
        rows = (conv_weight.shape[3] - 1) * sum(dilations)
        self._state = conv_weight.new_zeros(batch, rows, conv_weight.shape[2])

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        conv_weight, conv_bias, out_weight, out_bias = self._weights
        assert conv_weight is not None and out_weight is not None
        with torch.no_grad():
            residual, skip, self._state = residual_stack_stream(
                x,
                self._state,
                conv_weight,
                conv_bias,
                out_weight,
                out_bias,
                cond,
                self._dilations,
                self._residual_scale,
            )
        return residual, skip

    def reset(self) -> None:
        self._state = torch.zeros_like(self._state)


def stack_stream(
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    dilations: Sequence[int],
    residual_scale: float,
    batch: int,
) -> _Stream:
    """What `wavenet_kernels.streaming.StackStream` steps through."""
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    return _Stream(weights, dilations, residual_scale, batch)


def _rows(tensor: Tensor) -> Tensor:
    """A (B, C, T) tensor of its own in the memory order of (B, T, C) rows."""
    return empty_rows(tensor, *tensor.shape).copy_(tensor)


def _channels_first(tensor: Tensor) -> Tensor:
    """(B, C, T) -> (C, B*T)."""
    return tensor.transpose(0, 1).flatten(1)


def _layers(
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
) -> list[tuple[_LayerTensors, int]]:
    """For each layer its tensors and its dilation."""
    channels = conv_weight.shape[1]
    return [
        (
            (
                conv_weight[layer],
                None if conv_bias is None else conv_bias[layer],
                out_weight[layer],
                None if out_bias is None else out_bias[layer],
                None if cond is None else cond.narrow(1, layer * channels, channels),
            ),
            dilation,
        )
        for layer, dilation in enumerate(dilations)
    ]


def _preactivation(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    a = reference.dilated_conv1d(x, weight, bias, dilation=dilation, padding=padding)
    return a if cond is None else a + cond


def _gate_backward(grad: Tensor, a: Tensor) -> Tensor:
    filter_, gate = a.chunk(2, dim=1)
    tanh, sigmoid = torch.tanh(filter_), torch.sigmoid(gate)
    grad_filter = grad * sigmoid * (1 - tanh * tanh)
    grad_gate = grad * tanh * sigmoid * (1 - sigmoid)
    return torch.cat([grad_filter, grad_gate], dim=1)


def _conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, dilation: int, padding: str, needs_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    left, right = reference.padding_of(weight.shape[2], dilation, padding)
    grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        grad,
        F.pad(x, (left, right)),
        weight,
        [weight.shape[0]],
        stride=[1],
        padding=[0],
        dilation=[dilation],
        transposed=False,
        output_padding=[0],
        groups=1,
        output_mask=[needs_x, True, True],
    )
    if needs_x:
        grad_x = grad_x[:, :, left : left + x.shape[2]]
    return grad_x, grad_weight, grad_bias


def _cond_gradient(grad_a: Tensor, cond: Tensor | None) -> Tensor | None:
    if cond is None or cond.shape[2] == grad_a.shape[2]:
        return grad_a
    return grad_a.sum(2, keepdim=True)


def _masked(gradients: Sequence[Tensor | None], output_mask: Sequence[bool]) -> tuple[Tensor, ...]:
    """What backward operators return: activations (first and last) in rows order, (0,) for none."""
    like = next(g for g in gradients if g is not None)
    last = len(gradients) - 1
    masked = []
    for index, (gradient, needed) in enumerate(zip(gradients, output_mask, strict=True)):
        if gradient is None or not needed:
            masked.append(like.new_empty(0))
        elif gradient.dim() == 3 and index in (0, last):
            masked.append(_rows(gradient))
        else:
            masked.append(gradient.contiguous())
    return tuple(masked)
