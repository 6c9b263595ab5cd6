"""Nothing wrong gets a number: a contender's outputs against `reference.residual_stack`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import numerics, reference

_SIZES = (numerics.largest, numerics.root_mean_square)


class Truth:
    """The residual and skip sum of a stack, and how far off a contender may be.

    The tests' rule twice over, for this looks for mistakes: 4 times the error of eager PyTorch in
    the same dtype against float64, plus 8 ulp of the largest value; and so by root mean squares.
    """

    def __init__(self, tensors: Sequence[Tensor], settings: dict[str, Any]) -> None:
        with torch.no_grad():
            eager = reference.residual_stack(*tensors, **settings)
            self.exact = reference.residual_stack(*(t.double() for t in tensors), **settings)
        ulp = torch.finfo(tensors[0].dtype).eps
        errors = [e.double() - x for e, x in zip(eager, self.exact, strict=True)]
        self.eager_errors = [float(error.norm()) for error in errors]
        self.bounds = [
            {size: 2 * numerics.bound(error, x, ulp, size) for size in _SIZES}
            for error, x in zip(errors, self.exact, strict=True)
        ]

    def check(self, outputs: Sequence[Tensor]) -> float:
        """The root mean square error over eager PyTorch's; of the output where that is larger.

        Raises ArithmeticError where one is further off than allowed.
        """
        names = ("residual", "skip")
        ratios = [0.0]
        for name, got, exact, bounds, eager_error in zip(
            names, outputs, self.exact, self.bounds, self.eager_errors, strict=True
        ):
            if got.shape != exact.shape:
                raise ArithmeticError(f"wrong {name}: shape {got.shape}, not {exact.shape}")
            errors = got.double() - exact
            for size, bound in bounds.items():
                error = size(errors)
                if not error <= bound:  # NaN is wrong too
                    raise ArithmeticError(f"wrong {name}: off by {error:.2g}, allowed {bound:.2g}")
            if eager_error:
                ratios.append(float(errors.norm()) / eager_error)
        return max(ratios)
