"""gated_activation: tanh(filter) * sigmoid(gate), forward and backward."""

from __future__ import annotations

from torch import Tensor

from wavenet_kernels.ops._invoke import invoke
from wavenet_kernels.ops._register import register


def gated_activation(a: Tensor, cond: Tensor | None = None) -> Tensor:
    """The gated activation unit of WaveNet, ``tanh(a_f + c_f) * sigmoid(a_g + c_g)``.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), equation 2; with `cond`, section 2.5.

    Args:
        a: (B, 2D, T), the filter half first; float32, float64, bfloat16 or float16.
        cond: added to `a`: (B, 2D, T), or (B, 2D, 1) for all times alike.

    Returns:
        (B, D, T) in the dtype of `a` and in the memory order of (B, T, D) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    z: Tensor = invoke("gated_activation", (a, cond))
    return z


register("gated_activation(Tensor a, Tensor? cond, str backend) -> Tensor")
