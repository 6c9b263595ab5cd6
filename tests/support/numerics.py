"""The rule by which a backend is right.

Against the float64 reference on the same (already rounded) inputs, every output and every
gradient may be off by twice what eager PyTorch is off by in the same dtype, plus a floor of
4 ulp of the tensor's largest value. No tolerance is picked by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import wavenet_kernels
from wavenet_kernels import reference

ULPS = 4


def check_operator(
    operator: str,
    tensors: Sequence[Tensor | None],
    settings: dict[str, Any],
    backend: str,
    *,
    gradients: bool = True,
) -> None:
    """The operator on the backend obeys the rule: outputs, and gradients of every tensor."""
    reference_of, public = getattr(reference, operator), getattr(wavenet_kernels, operator)
    exact = _run(reference_of, [_double(t) for t in tensors], settings, gradients)
    eager = _run(reference_of, tensors, settings, gradients)
    with wavenet_kernels.use_backend(backend):
        ours = _run(public, tensors, settings, gradients)
    for name, truth, yardstick, got in zip(exact[1], exact[0], eager[0], ours[0], strict=True):
        assert_rule(got, truth, yardstick, f"{operator} on {backend}: {name}")


def assert_rule(got: Tensor, truth: Tensor, yardstick: Tensor, what: str) -> None:
    assert got.shape == truth.shape, what
    assert got.dtype == yardstick.dtype, what
    if truth.numel() == 0:
        return
    ulp = torch.finfo(got.dtype).eps
    got, truth, yardstick = got.detach().double(), truth.detach(), yardstick.detach().double()
    assert torch.equal(got.isnan(), truth.isnan()), f"{what}: NaN where the reference has none"
    finite = truth.isfinite()
    assert torch.equal(got[~finite].nan_to_num(), truth[~finite].nan_to_num()), what
    if not finite.any():
        return
    error = (got - truth)[finite].abs().max().item()
    eager_error = (yardstick - truth)[finite & yardstick.isfinite()].abs().max().item()
    bound = 2 * eager_error + ULPS * ulp * truth[finite].abs().max().item()
    assert error <= bound, (
        f"{what}: error {error:.3g}, eager's {eager_error:.3g}, bound {bound:.3g}"
    )


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
    loss = sum((o * _cotangent(o, i)).sum() for i, o in enumerate(outputs) if o.numel())
    grads = torch.autograd.grad(loss, [leaf for _, leaf in wanted])
    return outputs + list(grads), names + [f"gradient {i}" for i, _ in wanted]


def _cotangent(output: Tensor, index: int) -> Tensor:
    """The same values in every dtype: powers of two are exact everywhere."""
    generator = torch.Generator().manual_seed(100 + index)
    exponent = torch.randint(-2, 2, output.shape, generator=generator).double()
    sign = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
    return (sign * 2.0**exponent).to(output.device, output.dtype)


def _double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()
