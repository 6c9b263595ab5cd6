"""dilated_conv1d: a dilated convolution that keeps the length, forward and backward."""

from __future__ import annotations

from torch import Tensor

from wavenet_kernels.call import Padding
from wavenet_kernels.ops._invoke import integer, invoke
from wavenet_kernels.ops._register import register


def dilated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: Padding = "causal",
) -> Tensor:
    """A dilated convolution over time whose output is as long as its input.

    ``y[t] = bias + sum_k weight[:, :, k] @ x[t - (K-1-k) dilation]`` with zeros before the start
    (van den Oord et al. 2016, arXiv 1609.03499, section 2.1); "same" shifts y by half a halo.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        weight: (C, R, K), laid out as ``torch.nn.Conv1d``'s.
        bias: (C,) or None.
        dilation: steps between taps, from 1; it may exceed T.
        padding: "causal" (y[t] sees x[<=t]) or "same" (symmetric, K odd).

    Returns:
        (B, C, T) in the dtype of `x` and in the memory order of (B, T, C) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    y: Tensor = invoke(
        "dilated_conv1d",
        (x, weight, bias),
        integer("dilated_conv1d", "dilation", dilation),
        padding,
    )
    return y


register(
    "dilated_conv1d(Tensor x, Tensor weight, Tensor? bias, int dilation, str padding, "
    "str backend) -> Tensor"
)
