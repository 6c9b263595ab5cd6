"""What the layers accept. Errors name the layer, the argument, what came, and what is accepted."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, SupportsFloat, SupportsIndex

import torch
from torch import Tensor
from torch.overrides import has_torch_function_unary
from torch.types import Device

from wavenet_kernels.call import Keep, Padding

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def integer(layer: str, name: str, value: SupportsIndex, least: int = 1) -> int:
    """An int, NumPy's and torch's too, from `least`."""
    accepted = f"accepted is an int from {least}"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{layer}: {name} is {value!r}; {accepted}") from None
    if number < least:
        raise ValueError(f"{layer}: {name} is {number}; {accepted}")
    return number


def integers(layer: str, name: str, values: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """One int from 1 for each layer of a stack, of which there is at least one."""
    accepted = "accepted is an int from 1 for each layer"
    try:
        numbers = tuple(operator.index(value) for value in values)
    except TypeError:
        raise TypeError(f"{layer}: {name} is {values!r}; {accepted}") from None
    if not numbers:
        raise ValueError(f"{layer}: {name} is empty; {accepted}")
    if min(numbers) < 1:
        raise ValueError(f"{layer}: {name} holds {min(numbers)}; {accepted}")
    return numbers


def constant(layer: str, name: str, value: SupportsFloat) -> float:
    """A number; no tensor, whose gradient and later values would be ignored."""
    if isinstance(value, Tensor) or not isinstance(value, SupportsFloat):
        raise TypeError(
            f"{layer}: {name} is a {type(value).__name__}; accepted is a number, which stays what "
            "it is: it is not learned"
        )
    return float(value)


def probability(layer: str, name: str, value: SupportsFloat) -> float:
    """A number from 0 and below 1."""
    number = constant(layer, name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{layer}: {name} is {number:g}; accepted is a number from 0 and below 1")
    return number


def padding_of(layer: str, padding: Padding, kernel_size: int) -> Padding:
    """The padding: causal, or the same on both sides of an odd number of taps."""
    if padding not in ("causal", "same"):
        raise ValueError(f'{layer}: padding is {padding!r}; accepted are "causal" and "same"')
    if padding == "same" and kernel_size % 2 == 0:
        raise ValueError(
            f'{layer}: kernel_size is {kernel_size}; accepted with padding "same" is an odd number'
        )
    return padding


def keep_of(layer: str, keep: Keep, checkpoint_every: int) -> Keep:
    """What backward goes on from: all gates can't be kept where not even all inputs are."""
    if keep not in ("auto", "inputs", "gates"):
        raise ValueError(f'{layer}: keep is {keep!r}; accepted are "auto", "inputs" and "gates"')
    if keep == "gates" and checkpoint_every > 1:
        raise ValueError(
            f'{layer}: keep is "gates" with checkpoint_every {checkpoint_every}; accepted is 1, or '
            '"inputs"'
        )
    return keep


def factory(layer: str, device: Device, dtype: torch.dtype | None) -> dict[str, Any]:
    """Where parameters are made, and of which type: keywords of `torch.empty`."""
    if (dtype or torch.get_default_dtype()) not in _DTYPES:
        raise TypeError(
            f"{layer}: dtype is {dtype}; accepted are float32, float64, bfloat16 and float16"
        )
    return {"device": device, "dtype": dtype}


def check_input(layer: str, x: Any, channels: int) -> None:
    """x is a (B, R, T) tensor with the R of the layer.

    What is being traced has no shape yet, or one that must not decide: the operators check it when
    the trace is run.
    """
    if has_torch_function_unary(x) or torch.jit.is_tracing():
        return
    accepted = f"accepted is (B, R, T) = (any, {channels}, any)"
    if not isinstance(x, Tensor):
        what = f"{type(x).__module__}.{type(x).__qualname__}"
        raise TypeError(f"{layer}: x is a {what} and no tensor; {accepted}")
    if x.dim() != 3 or x.shape[1] != channels:
        raise ValueError(f"{layer}: x has shape {tuple(x.shape)}; {accepted}")
