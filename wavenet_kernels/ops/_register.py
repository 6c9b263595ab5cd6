"""Registers an operator with torch.library: schema, implementation, fake, autograd, autocast.

Every operator's last argument is the backend's name; the others are what the backend's function
of the same name is called with. The first is a (B, C, T) tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.rows import empty_rows

NAMESPACE = "wavenet_kernels"
try:
    _library = torch.library.Library(NAMESPACE, "DEF")
except RuntimeError as error:
    # The first import's operators can't be taken back: compiled graphs may hold them.
    raise ImportError(
        "wavenet_kernels was imported before and then deleted from sys.modules; PyTorch registers "
        "operators once in a process, so keep the module there, or start another process"
    ) from error


def register(
    schema: str,
    *,
    outputs: Callable[..., Any],
    check: Callable[..., None] | None = None,
    when_empty: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> None:
    """Register `schema`, "name(Tensor x, ..., str backend) -> ...".

    Args:
        outputs: allocates what the operator returns; the fake kernel is this and `check`.
        check: raises for arguments that don't fit. Operators without one are internal.
        when_empty: what to return when B or T is 0, so that no backend ever sees that;
            by default `outputs` filled with zeros.
        setup_context, backward: as of `torch.library.register_autograd`; without them,
            differentiating the operator is refused with a sentence.
    """
    name, _, rest = schema.partition("(")
    qualified = f"{NAMESPACE}::{name}"
    names = [argument.split()[-1] for argument in rest.partition(")")[0].split(",")]

    def implementation(*args: Any) -> Any:
        *arguments, backend = args
        if check is not None:
            check(*arguments)
        first: Tensor = arguments[0]
        if first.shape[0] == 0 or first.shape[2] == 0:
            return (when_empty or zeros)(*arguments)
        if "state" not in names:
            arguments = _within_time(names, arguments, first.shape[2])
        device = first.device.type
        if torch.is_autocast_enabled(device):
            # Dtypes have been chosen by now, in a backward by its forward: nothing below casts.
            with torch.autocast(device, enabled=False):
                return backends.run(name, backend, *arguments)
        return backends.run(name, backend, *arguments)

    def fake(*args: Any) -> Any:
        if check is not None:
            check(*args[:-1])
        return outputs(*args[:-1])

    def zeros(*arguments: Any) -> Any:
        made = outputs(*arguments)
        for tensor in (made,) if isinstance(made, Tensor) else made:
            tensor.zero_()
        return made

    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(qualified, fake, lib=_library)
    torch.library.register_autograd(
        qualified, backward or _refuse(name), setup_context=setup_context, lib=_library
    )
    if check is not None:
        for device in ("cpu", "cuda", "xpu"):
            _library.impl(name, _autocast(name, device), f"Autocast{device.upper()}")


def _within_time(names: Sequence[str], arguments: list[Any], time: int) -> list[Any]:
    """The arguments with dilations of at most T.

    A tap T steps away is outside the signal for every output, as one further away is; but no
    backend has to pad for a halo that is longer than any signal.
    """
    arguments = list(arguments)
    for index, name in enumerate(names[: len(arguments)]):
        if name == "dilation":
            arguments[index] = min(arguments[index], time)
        elif name == "dilations":
            arguments[index] = [min(dilation, time) for dilation in arguments[index]]
    return arguments


def _autocast(name: str, device: str) -> Callable[..., Any]:
    """The operator in the dtype that torch.autocast is set to, as torch does for convolutions."""

    def cast(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point() and value.device.type == device:
            # float64 is left alone, as everywhere in torch's autocast.
            if value.dtype != torch.float64:
                return value.to(torch.get_autocast_dtype(device))
        return value

    def kernel(*args: Any) -> Any:
        arguments = [cast(value) for value in args]
        with torch.autocast(device, enabled=False):
            return getattr(torch.ops.wavenet_kernels, name)(*arguments)

    return kernel


def _refuse(name: str) -> Callable[..., Any]:
    what = (
        f"{name.removesuffix('_backward')} can be differentiated once: its double backward"
        if name.endswith("_backward")
        else f"{name} is for inference: its backward"
    )

    def backward(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            f"{what} is not implemented; the function of that name in wavenet_kernels.reference "
            "is plain PyTorch and can be differentiated any number of times"
        )

    return backward


def empty_gradients(
    output_mask: Sequence[bool], tensors: Sequence[Tensor | None], activations: Sequence[int]
) -> tuple[Tensor, ...]:
    """Uninitialised gradients of `tensors`; of size (0,) for those not in the mask.

    Those at the indices `activations` are in rows order, the others (weights) contiguous, which
    is what every backend returns.
    """
    first = next(tensor for tensor in tensors if tensor is not None)
    gradients = []
    for index, (tensor, needed) in enumerate(zip(tensors, output_mask, strict=True)):
        if tensor is None or not needed:
            gradients.append(first.new_empty(0))
        elif index in activations:
            gradients.append(empty_rows(tensor, *tensor.shape))
        else:
            gradients.append(tensor.new_empty(tensor.shape))
    return tuple(gradients)


def wanted(gradients: Sequence[Tensor], output_mask: Sequence[bool]) -> list[Tensor | None]:
    """For autograd: None in place of the gradients that were not asked for."""
    return [g if needed else None for g, needed in zip(gradients, output_mask, strict=True)]
