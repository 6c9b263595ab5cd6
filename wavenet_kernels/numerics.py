"""The rule by which a backend is right, for tests and for checks of kernels on a user's device.

Against float64 on the same (already rounded) inputs, every output and every gradient may be off by
twice what eager PyTorch is off by in the same dtype, plus a floor of 4 ulp of the tensor's largest
value; and the same with root mean squares in place of the largest values, so that one large element
hides no error of small ones. No tolerance is picked by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ULPS = 4


def violation(got: Tensor, truth: Tensor, eager_error: Tensor) -> str | None:
    """How `got` breaks the rule, or None.

    Args:
        got: what is judged.
        truth: the float64 reference.
        eager_error: what eager PyTorch is off by, element by element.
    """
    if got.shape != truth.shape:
        return f"shape {tuple(got.shape)}, not {tuple(truth.shape)}"
    if truth.numel() == 0:
        return None
    ulp = torch.finfo(got.dtype).eps
    got, truth, eager_error = got.detach().double(), truth.detach(), eager_error.detach()
    if not torch.equal(got.isnan(), truth.isnan()):
        return "NaN where the reference has none"
    finite = truth.isfinite()
    if not torch.equal(got[~finite].nan_to_num(), truth[~finite].nan_to_num()):
        return "other infinities than the reference's"
    if not finite.any():
        return None
    errors, eagers = (got - truth)[finite], eager_error[finite & eager_error.isfinite()]
    compared = errors, eagers, truth[finite], ulp
    return _beyond("error", *compared, largest) or _beyond(
        "root mean square error", *compared, root_mean_square
    )


def largest(values: Tensor) -> float:
    """The largest absolute value."""
    return values.abs().max().item()


def root_mean_square(values: Tensor) -> float:
    """Of all values."""
    return values.double().square().mean().sqrt().item()


def bound(
    eager_error: Tensor, truth: Tensor, ulp: float, size: Callable[[Tensor], float] = largest
) -> float:
    """How far off the rule allows to be, by the sizes of eager's error and of the truth."""
    return 2 * size(eager_error) + ULPS * ulp * size(truth)


def _beyond(
    what: str,
    errors: Tensor,
    eagers: Tensor,
    truth: Tensor,
    ulp: float,
    size: Callable[[Tensor], float],
) -> str | None:
    error, allowed = size(errors), bound(eagers, truth, ulp, size)
    if error <= allowed:
        return None
    return f"{what} {error:.3g}, eager's {size(eagers):.3g}, bound {allowed:.3g}"


def cotangent(output: Tensor, index: int) -> Tensor:
    """A gradient of an output; the same values in every dtype: powers of two are exact."""
    generator = torch.Generator().manual_seed(100 + index)
    exponent = torch.randint(-2, 2, output.shape, generator=generator).double()
    sign = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
    return (sign * 2.0**exponent).to(output.device, output.dtype)
