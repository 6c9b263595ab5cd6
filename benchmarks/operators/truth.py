"""Nothing wrong gets a number: a contender's outputs and gradients against float64.

The yardstick is `reference.residual_stack`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import numerics, reference

_SIZES = (numerics.largest, numerics.root_mean_square)


Stack = Callable[..., Sequence[Tensor]]
_OUTPUTS = ("residual", "skip")
_TENSORS = ("x", "conv_weight", "conv_bias", "out_weight", "out_bias", "cond")


@dataclass(frozen=True)
class _Expected:
    """A tensor in float64, how far off eager PyTorch is, and how far off one may be."""

    name: str
    exact: Tensor
    eager_error: float
    bounds: dict[Callable[[Tensor], float], float]

    @classmethod
    def of(cls, name: str, eager: Tensor, exact: Tensor) -> _Expected:
        error, ulp = eager.double() - exact, torch.finfo(eager.dtype).eps
        bounds = {size: 2 * numerics.bound(error, exact, ulp, size) for size in _SIZES}
        return cls(name, exact, float(error.norm()), bounds)

    def check(self, got: Tensor | None) -> float:
        """The root mean square error over eager PyTorch's.

        Raises ArithmeticError where it is further off than allowed. A gradient that is None is 0.
        """
        if got is None:
            got = torch.zeros_like(self.exact)
        if got.shape != self.exact.shape:
            raise ArithmeticError(f"wrong {self.name}: shape {got.shape}, not {self.exact.shape}")
        errors = got.detach().double() - self.exact
        for size, bound in self.bounds.items():
            error = size(errors) if errors.numel() else 0.0
            if not error <= bound:  # NaN is wrong too
                raise ArithmeticError(f"wrong {self.name}: off by {error:.2g}, allowed {bound:.2g}")
        return float(errors.norm()) / self.eager_error if self.eager_error else 0.0


class Truth:
    """The outputs and gradients of a stack, and how far off a contender may be.

    The tests' rule twice over, for this looks for mistakes: 4 times the error of eager PyTorch in
    the same dtype against float64, plus 8 ulp of the largest value; and so by root mean squares.
    """

    def __init__(
        self, tensors: Sequence[Tensor], settings: dict[str, Any], *, gradients: bool = True
    ) -> None:
        self._tensors, self._settings = tensors, settings
        names = [f"gradient of {name}" for name in _TENSORS[: len(tensors)]]
        wide = [tensor.double() for tensor in tensors]
        self._outputs = _expected(
            _OUTPUTS,
            _forward(reference.residual_stack, tensors, settings),
            _forward(reference.residual_stack, wide, settings),
        )
        self._gradients = gradients and _expected(
            names,
            _gradients(reference.residual_stack, tensors, settings),
            _gradients(reference.residual_stack, wide, settings),
        )

    def check(self, outputs: Sequence[Tensor]) -> float:
        """The root mean square error over eager PyTorch's; of the output where that is larger.

        Raises ArithmeticError where one is further off than allowed.
        """
        return _worst(self._outputs, outputs)

    def check_gradients(self, stack: Stack) -> float:
        """The same of the gradients of all tensors, which are computed here."""
        assert self._gradients, "gradients=False"
        return _worst(self._gradients, _gradients(stack, self._tensors, self._settings))


def _expected(
    names: Sequence[str], eager: Sequence[Tensor | None], exact: Sequence[Tensor | None]
) -> list[_Expected]:
    pairs = zip(names, eager, exact, strict=True)
    return [_Expected.of(name, e, x) for name, e, x in pairs if e is not None and x is not None]


def _worst(expected: Sequence[_Expected], found: Sequence[Tensor | None]) -> float:
    return max((one.check(got) for one, got in zip(expected, found, strict=True)), default=0.0)


@torch.no_grad()
def _forward(stack: Stack, tensors: Sequence[Tensor], settings: dict[str, Any]) -> list[Tensor]:
    return list(stack(*tensors, **settings))


def _gradients(
    stack: Stack, tensors: Sequence[Tensor], settings: dict[str, Any]
) -> list[Tensor | None]:
    """Of fixed cotangents, which are exact in every dtype."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    outputs = list(stack(*leaves, **settings))
    given = [numerics.cotangent(output, number) for number, output in enumerate(outputs)]
    return list(torch.autograd.grad(outputs, leaves, given, allow_unused=True))
