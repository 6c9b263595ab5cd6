"""gated_conv1d: a dilated convolution with the gate applied to it, forward and backward."""

from __future__ import annotations

from torch import Tensor

from wavenet_kernels.call import Padding
from wavenet_kernels.ops._invoke import integer, invoke
from wavenet_kernels.ops._register import register


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    cond: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: Padding = "causal",
) -> Tensor:
    """``gated_activation(dilated_conv1d(x, weight, bias), cond)`` in one operator.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), equations 2 and 3. Kept for backward:
    the inputs; the pre-activation is recomputed.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        weight: (2D, R, K), the filter half first.
        bias: (2D,) or None.
        cond: added before the gate: (B, 2D, T), or (B, 2D, 1) for all times alike.
        dilation: steps between taps, from 1; it may exceed T.
        padding: "causal" (y[t] sees x[<=t]) or "same" (symmetric, K odd).

    Returns:
        (B, D, T) in the dtype of `x` and in the memory order of (B, T, D) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    z: Tensor = invoke(
        "gated_conv1d",
        (x, weight, bias, cond),
        integer("gated_conv1d", "dilation", dilation),
        padding,
    )
    return z


register(
    "gated_conv1d(Tensor x, Tensor weight, Tensor? bias, Tensor? cond, int dilation, "
    "str padding, str backend) -> Tensor"
)
