"""The rule by which a backend is right, for tests and for checks of kernels on a user's device.

Against float64 on the same (already rounded) inputs, every output and every gradient may be off by
twice what eager PyTorch is off by in the same dtype, plus a floor of 4 ulp of the tensor's largest
value. No tolerance is picked by hand.
"""

from __future__ import annotations

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
    error = (got - truth)[finite].abs().max().item()
    eagers = eager_error[finite & eager_error.isfinite()].abs().max().item()
    bound = 2 * eagers + ULPS * ulp * truth[finite].abs().max().item()
    if error <= bound:
        return None
    return f"error {error:.3g}, eager's {eagers:.3g}, bound {bound:.3g}"


def cotangent(output: Tensor, index: int) -> Tensor:
    """A gradient of an output; the same values in every dtype: powers of two are exact."""
    generator = torch.Generator().manual_seed(100 + index)
    exponent = torch.randint(-2, 2, output.shape, generator=generator).double()
    sign = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
    return (sign * 2.0**exponent).to(output.device, output.dtype)
