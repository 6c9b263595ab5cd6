"""From a public function to its registered operator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends, reference
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.ops._check import refuse_forward_mode
from wavenet_kernels.ops._register import OPERATORS


def invoke(operator: str, tensors: Sequence[Tensor | None], *settings: Any) -> Any:
    """Call the registered operator, on the backend in force.

    Inside torch.func's transforms, and for inputs that stand for a batch or a derivative of its
    own, the operator is what `wavenet_kernels.reference` writes it as: right, and not fast.
    """
    for position, tensor in enumerate(tensors):
        # What is no tensor and yet takes part in torch's functions stands for one in a trace.
        if not (isinstance(tensor, Tensor) or hasattr(type(tensor), "__torch_function__")):
            _require_tensor(operator, position, tensor)
    backend = backends.current_backend()
    if _inside_transform():
        if backend not in ("auto", "reference"):
            raise BackendUnavailableError(
                f"the {backend} backend does not compute {operator} inside torch.func's "
                'transforms; use_backend("auto") or "reference" does'
            )
        return plain(operator)(*tensors, *settings)
    refuse_forward_mode(operator, *tensors)
    return getattr(torch.ops.wavenet_kernels, operator)(*tensors, *settings, backend)


def _inside_transform() -> bool:
    """Whether torch.func.grad, vmap, ... are under way; a compiler traces one case or the other."""
    return bool(torch._C._are_functorch_transforms_active())


# As torch.compiler.assume_constant_result does, which imports the compiler, and Triton with it.
_inside_transform._dynamo_marked_constant = True  # type: ignore[attr-defined]


def plain(operator: str) -> Callable[..., Any]:
    """The operator in plain PyTorch, called with the registered operator's arguments."""
    function = getattr(reference, operator)
    names, accepted = OPERATORS[operator].names, inspect.signature(function).parameters

    def call(*values: Any) -> Any:
        arguments = dict(zip(names, values, strict=False))  # a backend may come last
        return function(**{name: arguments[name] for name in names if name in accepted})

    return call


def integer(operator: str, name: str, value: int) -> int:
    """What counts as an int, or a TypeError that says more than the schema's."""
    if type(value) is int or hasattr(type(value), "__index__"):
        return value
    raise TypeError(f"{operator}: {name} is {value!r}; accepted is an int")


def integers(operator: str, name: str, values: Sequence[int]) -> list[int]:
    """A list of what counts as ints."""
    if not hasattr(type(values), "__iter__"):
        raise TypeError(f"{operator}: {name} is {values!r}; accepted is one int for each layer")
    return [integer(operator, name, value) for value in values]


def refuse_tensor(operator: str, residual_scale: object) -> None:
    """A scale that is to be learnt would silently be a constant."""
    if isinstance(residual_scale, Tensor):
        raise TypeError(
            f"{operator}: residual_scale is a {type(residual_scale).__name__}; accepted is a "
            "number: it is not differentiated (scale x and out_weight to learn one)"
        )


def _require_tensor(operator: str, position: int, value: object) -> None:
    name = OPERATORS[operator].tensors[position]
    if value is None and name not in OPERATORS[operator].required:
        return
    kind = type(value)
    came = "None" if value is None else f"a {kind.__module__}.{kind.__qualname__}"
    raise TypeError(f"{operator}: {name} is {came}; accepted is a torch tensor")
