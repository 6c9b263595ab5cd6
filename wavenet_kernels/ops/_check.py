"""What the operators accept. Errors name the argument, what came, and what is accepted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def refuse_forward_mode(operator: str, *tensors: Tensor | None) -> None:
    """Without this the derivative would silently be zero."""
    if forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                f"{operator}: forward-mode differentiation is not implemented; the function of "
                "that name in wavenet_kernels.reference has it"
            )


def check_tensors(operator: str, **tensors: Tensor | None) -> None:
    """All tensors share the first one's dtype and device, and the dtype is a floating one."""
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first_name, first = next(iter(tensors.items()))
    if first is None:
        raise TypeError(f"{operator}: {first_name} is None; accepted is a tensor")
    if first.dtype not in _DTYPES:
        raise TypeError(
            f"{operator}: {first_name} is {first.dtype}; accepted are float32, float64, bfloat16 "
            "and float16"
        )
    for name, tensor in present.items():
        if tensor.dtype != first.dtype:
            raise TypeError(
                f"{operator}: {name} is {tensor.dtype} but {first_name} is {first.dtype}; "
                "all tensors must have one dtype (or run under torch.autocast)"
            )
        if tensor.device != first.device:
            raise ValueError(
                f"{operator}: {name} is on {tensor.device} but {first_name} is on {first.device}; "
                "all tensors must be on one device"
            )


def check_shape(
    operator: str, name: str, tensor: Tensor | None, accepted: str, *sizes: int | None
) -> None:
    """The tensor, if there is one, has these sizes (None: any); `accepted` spells them."""
    if tensor is None:
        return
    shape = tensor.shape
    fits = len(shape) == len(sizes) and all(
        size is None or got == size for got, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        spelled = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(
            f"{operator}: {name} has shape {tuple(shape)}; accepted is {accepted} = ({spelled})"
        )


def check_cond(operator: str, cond: Tensor | None, batch: int, channels: int, time: int) -> None:
    """Conditioning is local, (B, C, T), or global, (B, C, 1)."""
    if cond is None:
        return
    if (
        cond.dim() != 3
        or cond.shape[0] != batch
        or cond.shape[1] != channels
        or (cond.shape[2] != time and cond.shape[2] != 1)
    ):
        raise ValueError(
            f"{operator}: cond has shape {tuple(cond.shape)}; accepted is ({batch}, {channels}, "
            f"{time}) or ({batch}, {channels}, 1)"
        )


def check_channels(operator: str, **channels: int) -> None:
    """Skip channels may be none; there is no layer without the others."""
    for name, number in channels.items():
        if number < 1:
            raise ValueError(f"{operator}: {name} is {number} channels; accepted is 1 or more")


def check_even(operator: str, name: str, channels: int) -> None:
    """A filter half and a gate half."""
    if channels % 2 != 0:
        raise ValueError(
            f"{operator}: {name} has {channels} channels; accepted is an even number 2D, "
            "the filter half first and the gate half second"
        )


def check_convolution(
    operator: str, kernel_size: int, dilations: Sequence[int], padding: str
) -> None:
    """At least one tap, dilations from 1, and a padding that the number of taps allows."""
    if kernel_size < 1:
        raise ValueError(f"{operator}: the weight has {kernel_size} taps; accepted is 1 or more")
    for dilation in dilations:
        if dilation < 1:
            raise ValueError(f"{operator}: dilation is {dilation}; accepted is 1 or more")
    if padding not in ("causal", "same"):
        raise ValueError(f'{operator}: padding is {padding!r}; accepted are "causal" and "same"')
    if padding == "same" and kernel_size % 2 == 0:
        raise ValueError(
            f'{operator}: padding "same" needs an odd number of taps; the weight has {kernel_size}'
        )


def check_residual_and_skip(operator: str, channels: int, residual: int) -> None:
    """out_weight makes the R residual channels and, after them, any number S of skip channels."""
    if channels < residual:
        raise ValueError(
            f"{operator}: out_weight makes {channels} channels; accepted is R+S, at least "
            f"R = {residual}"
        )


def check_stack(
    operator: str,
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None,
    dilations: Sequence[int],
) -> None:
    """The tensors of a stack of residual layers fit one another and the number of dilations."""
    check_tensors(
        operator,
        x=x,
        conv_weight=conv_weight,
        conv_bias=conv_bias,
        out_weight=out_weight,
        out_bias=out_bias,
        cond=cond,
    )
    if len(dilations) < 1:
        raise ValueError(f"{operator}: dilations is empty; accepted is one int for each layer")
    layers = len(dilations)
    check_shape(operator, "x", x, "(B, R, T)", None, None, None)
    batch, residual, time = x.shape
    accepted = "(L, 2D, R, K) with L dilations"
    check_shape(operator, "conv_weight", conv_weight, accepted, layers, None, residual, None)
    channels = conv_weight.shape[1]
    check_even(operator, "conv_weight", channels)
    check_channels(operator, R=residual, D=channels // 2)
    check_shape(operator, "conv_bias", conv_bias, "(L, 2D)", layers, channels)
    check_shape(operator, "out_weight", out_weight, "(L, R+S, D)", layers, None, channels // 2)
    check_residual_and_skip(operator, out_weight.shape[1], residual)
    check_shape(operator, "out_bias", out_bias, "(L, R+S)", layers, out_weight.shape[1])
    check_cond(operator, cond, batch, layers * channels, time)
