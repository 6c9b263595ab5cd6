"""The rule by which a backend is right (`wavenet_kernels.numerics`), for an operator on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import wavenet_kernels
from wavenet_kernels import reference
from wavenet_kernels.numerics import cotangent, violation


def check_operator(
    operator: str,
    tensors: Sequence[Tensor | None],
    settings: dict[str, Any],
    backend: str,
    *,
    gradients: bool = True,
    functions: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> None:
    """The operator on the backend obeys the rule: outputs, and gradients of every tensor.

    `functions`: a specification and what is to obey it, in place of the operator's own two.
    """
    plain, public = functions or (getattr(reference, operator), getattr(wavenet_kernels, operator))
    if tensors[0].dtype == torch.float64:
        # Eager is the reference there: float32 shows, scaled, what it is off by.
        with mock.patch.object(torch.nn.functional, "conv1d", _conv1d_by_short_sums):
            truths = _run(plain, tensors, settings, gradients)[0]
        shown = _as(torch.float32, tensors)
        eager_truths = _run(plain, _as(torch.float64, shown), settings, gradients)[0]
        scale = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    else:
        truths = _run(plain, _as(torch.float64, tensors), settings, gradients)[0]
        shown, eager_truths, scale = tensors, truths, 1.0
    eager = _run(plain, shown, settings, gradients)[0]
    errors = [scale * (e.double() - s) for e, s in zip(eager, eager_truths, strict=True)]
    with wavenet_kernels.use_backend(backend):
        ours, names = _run(public, tensors, settings, gradients)
    for name, truth, error, got in zip(names, truths, errors, ours, strict=True):
        assert got.dtype == tensors[0].dtype, name
        assert_rule(got, truth, error, f"{operator} on {backend}: {name}")


def assert_rule(got: Tensor, truth: Tensor, eager_error: Tensor, what: str) -> None:
    """`eager_error`: what eager PyTorch is off by, element by element."""
    wrong = violation(got, truth, eager_error)
    assert wrong is None, f"{what}: {wrong}"


def _run(
    function: Callable[..., Any],
    tensors: Sequence[Tensor | None],
    settings: dict[str, Any],
    gradients: bool,
) -> tuple[list[Tensor], list[str]]:
    # Detached, not cloned: a clone would straighten out the strides under test.
    leaves = [
        None if t is None else t.detach().requires_grad_(gradients and t.numel() > 0)
        for t in tensors
    ]
    outputs = function(*leaves, **settings)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    names = [f"output {i}" for i in range(len(outputs))]
    if not gradients:
        return outputs, names
    wanted = [(i, leaf) for i, leaf in enumerate(leaves) if leaf is not None and leaf.requires_grad]
    loss = sum((o * cotangent(o, i)).sum() for i, o in enumerate(outputs) if o.numel())
    grads = torch.autograd.grad(loss, [leaf for _, leaf in wanted])
    return outputs + list(grads), names + [f"gradient {i}" for i, _ in wanted]


def _conv1d_by_short_sums(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, dilation: int = 1
) -> Tensor:
    """torch's own, in float64, adds thousands of products one onto the other: the gradients of
    weights are then off by tens of times what the same sums are off by when made of short ones."""
    time = x.shape[2] - (weight.shape[2] - 1) * dilation
    y = x.new_zeros(()) if bias is None else bias[:, None]
    for k, w in enumerate(weight.unbind(2)):
        pieces = x[:, :, k * dilation : k * dilation + time].split(32, dim=2)
        y = y + torch.cat([w.expand(len(x), -1, -1) @ piece for piece in pieces], dim=2)
    return y


def _as(dtype: torch.dtype, tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.to(dtype) for t in tensors]


class Tf32Conv1d(torch.autograd.Function):
    """torch's conv1d on a GPU where float32 products may use TF32: operands rounded, sums exact."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        x, weight = _to_tf32(x), _to_tf32(weight)
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return torch.conv1d(x, weight, bias, dilation=dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rounded = _to_tf32(grad)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            rounded, x, weight, None, [1], [0], [ctx.dilation], False, [0], 1, [True, True, False]
        )
        grad_bias = grad.sum((0, 2)) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None


def _to_tf32(x: Tensor) -> Tensor:
    """To 10 bits of mantissa, ties away from zero."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def tf32_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, dilation: int = 1
) -> Tensor:
    """Stands in for torch.nn.functional.conv1d."""
    if x.dtype != torch.float32:
        return torch.conv1d(x, weight, bias, dilation=dilation)
    return Tf32Conv1d.apply(x.contiguous(), weight.contiguous(), bias, dilation)
