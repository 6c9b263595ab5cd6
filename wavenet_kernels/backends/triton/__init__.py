"""The backend of Triton kernels, for every GPU that Triton compiles for.

triton is imported on the first call, not with this module: it is optional at run time.
With TRITON_INTERPRET=1 the kernels run in Triton's interpreter, on CPU tensors too.

The kernels work on channels-last rows: a (B, C, T) tensor whose channel stride is 1 is used in
place, whatever its other strides, and any other one is copied once.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wavenet_kernels.backends.block import block_backward_of, block_of
from wavenet_kernels.backends.gradients import gradients_of
from wavenet_kernels.backends.triton.launch import interpreted, on_device_of
from wavenet_kernels.backends.triton.tuning import MOST_CHANNELS
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.rows import channels_last, empty_rows

if TYPE_CHECKING:
    from wavenet_kernels.backends.triton.stack import Stream

NAME = "triton"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_OLDEST = (3, 5)  # whose loops can be kept from hoisting every address into registers
_MOST_ROWS = 2**27  # of a clip: up to 15 taps further on are counted in 32 bits
_MOST_TAPS = 15


@functools.cache
def unavailable() -> str | None:
    """Why Triton kernels can't run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    try:
        version = importlib.import_module("triton").__version__
    except ImportError as error:
        return f"triton can't be imported ({error})"
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        return f"triton {version} is too old; 3.5 or later, as torch 2.9 brings it, is accepted"
    if not (interpreted() or torch.cuda.is_available() or torch.xpu.is_available()):
        return "no GPU that Triton supports (TRITON_INTERPRET=1 runs its interpreter instead)"
    return None


def describe() -> str:
    import triton

    where = "its interpreter" if interpreted() else "compiled on first use"
    return f"triton {triton.__version__}, {where}"


def gated_activation(a: Tensor, cond: Tensor | None) -> Tensor:
    from wavenet_kernels.backends.triton import gate

    _refuse_what_does_not_fit(a)
    return gate.forward(a, cond)


def gated_activation_backward(grad: Tensor, a: Tensor, cond: Tensor | None) -> Tensor:
    from wavenet_kernels.backends.triton import gate

    _refuse_what_does_not_fit(a)
    return gate.backward(grad, a, cond)


def dilated_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, padding: str
) -> Tensor:
    from wavenet_kernels.backends.triton import layers

    _refuse_what_does_not_fit(x, taps=weight.shape[2])
    y = empty_rows(x, x.shape[0], weight.shape[0], x.shape[2])
    left = _left(weight.shape[2], dilation, padding)
    with on_device_of(x):
        layers.convolution(
            channels_last(x), layers.packed(weight), _vector(bias), dilation, left, y
        )
    return y


def dilated_conv1d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    padding: str,
    output_mask: Sequence[bool],
) -> tuple[Tensor, ...]:
    from wavenet_kernels.backends.triton import layers

    _refuse_what_does_not_fit(x, taps=weight.shape[2])
    x, grad = channels_last(x), channels_last(grad)
    taps, left = weight.shape[2], _left(weight.shape[2], dilation, padding)
    grad_x = grad_weight = grad_bias = None
    with on_device_of(x):
        if output_mask[0]:
            grad_x = empty_rows(x, *x.shape)
            layers.input_gradient(grad, layers.packed(weight), dilation, left, grad_x)
        if output_mask[1]:
            found = layers.weight_gradient(grad, x, taps, dilation, left)
            grad_weight = layers.unpacked(found).to(x.dtype)
        if output_mask[2]:
            grad_bias = layers.over_rows(grad).to(x.dtype)
    return gradients_of(x, grad_x, grad_weight, grad_bias)


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    dilation: int,
    padding: str,
) -> Tensor:
    from wavenet_kernels.backends.triton import layers

    _refuse_what_does_not_fit(x, weight.shape[0] // 2, weight.shape[2])
    z = empty_rows(x, x.shape[0], weight.shape[0] // 2, x.shape[2])
    layer = layers.Layer(
        layers.packed_gate(weight),
        _vector(bias),
        None,
        None,
        channels_last(cond),
        dilation,
        padding,
    )
    with on_device_of(x):
        layers.forward(layer, channels_last(x), z=z)
    return z


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
    from wavenet_kernels.backends.triton import layers

    _refuse_what_does_not_fit(x, weight.shape[0] // 2, weight.shape[2])
    x, grad, cond = channels_last(x), channels_last(grad), channels_last(cond)
    layer = layers.Layer(
        layers.packed_gate(weight), _vector(bias), None, None, cond, dilation, padding
    )
    grad_x = empty_rows(x, *x.shape) if output_mask[0] else None
    local = cond is not None and cond.shape[2] == x.shape[2]
    grad_cond = empty_rows(x, *cond.shape) if cond is not None and local else None
    with on_device_of(x):
        found = layers.backward(layer, x, None, grad, grad_x, grad_cond)
    if cond is not None and not local:
        grad_cond = found.a_sums.to(x.dtype).unsqueeze(2)
    return gradients_of(
        x,
        grad_x,
        layers.unpacked_gate(found.conv).to(x.dtype) if output_mask[1] else None,
        found.conv_bias.to(x.dtype) if output_mask[2] else None,
        grad_cond if output_mask[3] else None,
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
    from wavenet_kernels.backends.triton import stack

    _refuse_what_does_not_fit(x, conv_weight.shape[1] // 2, conv_weight.shape[3])
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    layers = stack.layers_of(weights, cond, dilations, padding, residual_scale)
    with on_device_of(x):
        return stack.forward(layers, x, last_residual, checkpoint_every, save)


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
    from wavenet_kernels.backends.triton import stack

    _refuse_what_does_not_fit(x, conv_weight.shape[1] // 2, conv_weight.shape[3])
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    layers = stack.layers_of(weights, cond, dilations, padding, residual_scale)
    with on_device_of(x):
        found = stack.backward(
            layers,
            x,
            saved,
            channels_last(grad_residual) if last_residual else None,
            channels_last(grad_skip) if grad_skip.shape[1] else None,
            checkpoint_every,
            output_mask[0],
            cond if output_mask[5] else None,
        )
    return gradients_of(
        x,
        found.x,
        *(
            gradient if needed else None
            for gradient, needed in zip(found.weights(x.dtype), output_mask[1:5], strict=True)
        ),
        found.cond,
    )


residual_block = block_of(residual_stack)
residual_block_backward = block_backward_of(residual_stack_backward)


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
    from wavenet_kernels.backends.triton import stack

    _refuse_what_does_not_fit(x, conv_weight.shape[1] // 2, conv_weight.shape[3])
    weights = (conv_weight, conv_bias, out_weight, out_bias)
    layers = stack.layers_of(weights, cond, dilations, "causal", residual_scale)
    with on_device_of(x):
        return stack.stream(layers, x, state)


def stack_stream(
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    dilations: Sequence[int],
    residual_scale: float,
    batch: int,
) -> Stream:
    """What `wavenet_kernels.streaming.StackStream` steps through."""
    from wavenet_kernels.backends.triton import stack

    _refuse_what_does_not_fit(conv_weight, conv_weight.shape[1] // 2)
    weights = [
        None if w is None else w.clone() for w in (conv_weight, conv_bias, out_weight, out_bias)
    ]
    return stack.Stream(weights, dilations, residual_scale, batch)


def _left(taps: int, dilation: int, padding: str) -> int:
    return (taps - 1) * dilation // (1 if padding == "causal" else 2)


def _vector(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.contiguous()


def _refuse_what_does_not_fit(x: Tensor, gates: int = 1, taps: int = 1) -> None:
    if x.dtype not in _DTYPES:
        raise BackendUnavailableError(
            f"the triton backend computes in float32, bfloat16 and float16, not {x.dtype}; "
            "the reference backend does"
        )
    if x.device.type not in ("cuda", "xpu") and not interpreted():
        raise BackendUnavailableError(
            f"the triton backend needs tensors on a GPU; these are on {x.device}, where the cpu "
            "and reference backends work"
        )
    if gates > MOST_CHANNELS:
        raise BackendUnavailableError(
            f"the triton backend computes gates of up to {MOST_CHANNELS} channels, not {gates}; "
            "the reference backend does"
        )
    if taps > _MOST_TAPS:
        raise BackendUnavailableError(
            f"the triton backend takes convolutions of up to {_MOST_TAPS} taps, not {taps}; the "
            "reference backend takes more"
        )
    if x.shape[-1] > _MOST_ROWS:
        raise BackendUnavailableError(
            f"the triton backend takes clips of up to {_MOST_ROWS:,} times, not {x.shape[-1]:,}; "
            "the reference backend takes longer ones"
        )
