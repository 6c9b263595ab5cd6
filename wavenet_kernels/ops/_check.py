"""What the operators accept. Errors name the argument, what came, and what is accepted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from wavenet_kernels.call import STACKS, TENSORS, Call

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

# What fields of a call are as arguments of operators that name them otherwise.
_ARGUMENTS = {
    "gated_activation": {"x": "a"},
    "dilated_conv1d": {"conv_weight": "weight", "conv_bias": "bias"},
    "gated_conv1d": {"conv_weight": "weight", "conv_bias": "bias"},
}


def refuse_forward_mode(operator: str, *tensors: Tensor | None) -> None:
    """Without this the derivative would silently be zero."""
    if forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                f"{operator}: forward-mode differentiation is not implemented; the function of "
                "that name in wavenet_kernels.reference has it, and torch.func.jvp uses it"
            )


def check(call: Call) -> None:
    """Raise TypeError or ValueError for a call whose tensors or settings don't fit.

    Reads metadata only, so that it works on tensors without data.
    """
    check_tensors(call)
    if call.operator in STACKS and not call.settings.dilations:
        raise ValueError(f"{call.operator}: dilations is empty; accepted is one int for each layer")
    if call.operator == "gated_activation":
        _check_activation(call)
    else:
        _check_layers(call)
    if call.operator == "residual_stack_stream":
        _check_state(call)


def check_tensors(call: Call) -> None:
    """All tensors share the first one's dtype and device, and the dtype is a floating one."""
    names = _ARGUMENTS.get(call.operator, {})
    first, first_name = call.tensors.x, names.get("x", "x")
    if first.dtype not in _DTYPES:
        raise TypeError(
            f"{call.operator}: {first_name} is {first.dtype}; accepted are float32, float64, "
            "bfloat16 and float16"
        )
    dtype, device = first.dtype, first.device
    step = None if call.heard is None else call.heard.step
    others = (*call.tensors.weights(), call.tensors.cond, call.state, step)
    for index, tensor in enumerate(others):
        if tensor is None or (tensor.dtype == dtype and tensor.device == device):
            continue
        field = (*TENSORS[1:], "state", "step")[index]
        name = names.get(field, field)
        if tensor.dtype != dtype:
            raise TypeError(
                f"{call.operator}: {name} is {tensor.dtype} but {first_name} is {dtype}; "
                "all tensors must have one dtype (or run under torch.autocast)"
            )
        raise ValueError(
            f"{call.operator}: {name} is on {tensor.device} but {first_name} is on {device}; "
            "all tensors must be on one device"
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


def check_cond(
    operator: str, cond: Tensor | None, batch: int, channels: int, time: int, name: str = "cond"
) -> None:
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
            f"{operator}: {name} has shape {tuple(cond.shape)}; accepted is ({batch}, {channels}, "
            f"{time}) or ({batch}, {channels}, 1)"
        )


def _check_activation(call: Call) -> None:
    operator, a = call.operator, call.tensors.x
    _check_shape(operator, "a", a, "(B, 2D, T)", None, None, None)
    batch, channels, time = a.shape
    _check_even(operator, "a", channels)
    _check_channels(operator, D=channels // 2)
    check_cond(operator, call.tensors.cond, batch, channels, time)


def _check_layers(call: Call) -> None:
    operator, tensors, settings = call.operator, call.tensors, call.settings
    layers, stack = len(settings.dilations), operator in STACKS
    gated = operator != "dilated_conv1d"
    names = _ARGUMENTS.get(operator, {})
    weight_name = names.get("conv_weight", "conv_weight")
    bias_name = names.get("conv_bias", "conv_bias")

    def check_weight(name: str, weight: Tensor | None, accepted: str, *sizes: int | None) -> None:
        # The leading L of an operator of one layer is ours, not the caller's.
        if not stack:
            weight = None if weight is None else weight[0]
            _check_shape(operator, name, weight, f"({accepted})", *sizes)
            return
        more = " with L dilations" if weight is tensors.conv_weight else ""
        _check_shape(operator, name, weight, f"(L, {accepted}){more}", layers, *sizes)

    x, conv_weight, out_weight = tensors.x, tensors.conv_weight, tensors.out_weight
    assert conv_weight is not None
    _check_shape(operator, "x", x, "(B, R, T)", None, None, None)
    batch, residual, time = x.shape
    both = "2D" if gated else "C"
    check_weight(weight_name, conv_weight, f"{both}, R, K", None, residual, None)
    channels = conv_weight.shape[1]
    if gated:
        _check_even(operator, weight_name, channels)
        _check_channels(operator, R=residual, D=channels // 2)
    else:
        _check_channels(operator, R=residual, C=channels)
    check_weight(bias_name, tensors.conv_bias, both if stack else f"{both},", channels)
    if out_weight is not None:
        check_weight("out_weight", out_weight, "R+S, D", None, channels // 2)
        made = out_weight.shape[1]
        if made < residual:
            raise ValueError(
                f"{operator}: out_weight makes {made} channels; accepted is R+S, at least "
                f"R = {residual}"
            )
        check_weight("out_bias", tensors.out_bias, "R+S" if stack else "R+S,", made)
    check_cond(operator, tensors.cond, batch, layers * channels, time)
    if call.heard is not None:
        check_cond(operator, call.heard.step, batch, layers * residual, time, "step")
        _check_kept(call)
    check_convolution(operator, conv_weight.shape[3], settings.dilations, settings.padding)
    if settings.checkpoint_every < 1:
        raise ValueError(
            f"{operator}: checkpoint_every is {settings.checkpoint_every}; accepted is 1 or more"
        )
    if settings.keep not in ("auto", "inputs", "gates"):
        raise ValueError(
            f'{operator}: keep is {settings.keep!r}; accepted are "auto", "inputs" and "gates"'
        )
    if settings.keep == "gates" and settings.checkpoint_every > 1:
        raise ValueError(
            f'{operator}: keep is "gates" with checkpoint_every {settings.checkpoint_every}; '
            'accepted is 1, or "inputs"'
        )


def _check_state(call: Call) -> None:
    sizes = call.sizes
    rows = (sizes.K - 1) * sum(call.settings.dilations)
    _check_shape(call.operator, "state", call.state, "(B, H, R)", sizes.B, rows, sizes.R)


def _check_kept(call: Call) -> None:
    """What the public functions draw."""
    assert call.heard is not None
    kept, sizes = call.heard.kept, call.sizes
    layers = len(call.settings.dilations)
    _check_shape(call.operator, "kept", kept, "(L, B, R, T)", layers, sizes.B, sizes.R, sizes.T)
    if kept is not None and (kept.dtype != torch.bool or kept.device != call.tensors.x.device):
        raise TypeError(
            f"{call.operator}: kept is {kept.dtype} on {kept.device}; accepted is torch.bool on "
            f"{call.tensors.x.device}"
        )


def _check_shape(
    operator: str, name: str, tensor: Tensor | None, accepted: str, *sizes: int | None
) -> None:
    """The tensor, if there is one, has these sizes (None: any); `accepted` spells them."""
    if tensor is None:
        return
    shape = tensor.shape
    if len(shape) == len(sizes):
        for got, size in zip(shape, sizes, strict=True):
            if size is not None and got != size:
                break
        else:
            return
    spelled = ", ".join("any" if size is None else str(size) for size in sizes)
    hint = ""
    if name == "out_weight" and len(shape) == len(sizes) + 1 and shape[-1] == 1:
        hint = "; of a Conv1d with one tap that is weight.squeeze(-1)"
    raise ValueError(
        f"{operator}: {name} has shape {tuple(shape)}; accepted is {accepted} = ({spelled}){hint}"
    )


def _check_channels(operator: str, **channels: int) -> None:
    """Skip channels may be none; there is no layer without the others."""
    for name, number in channels.items():
        if number < 1:
            raise ValueError(f"{operator}: {name} is {number} channels; accepted is 1 or more")


def _check_even(operator: str, name: str, channels: int) -> None:
    """A filter half and a gate half."""
    if channels % 2 != 0:
        raise ValueError(
            f"{operator}: {name} has {channels} channels; accepted is an even number 2D, "
            "the filter half first and the gate half second"
        )
