"""residual_block: one WaveNet layer, forward and backward."""

from __future__ import annotations

from torch import Tensor

from wavenet_kernels.call import Padding
from wavenet_kernels.ops._heard import draw_kept
from wavenet_kernels.ops._invoke import integer, invoke, refuse_tensor
from wavenet_kernels.ops._register import register


def residual_block(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: Padding = "causal",
    residual_scale: float = 1.0,
    step: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """One residual layer of WaveNet: dilated convolution, gate, 1x1s to residual and skip.

    ``z = gated_conv1d(x)``, ``residual = residual_scale * (x + V_r z + v_r)``,
    ``skip = V_s z + v_s`` (van den Oord et al. 2016, arXiv 1609.03499, section 2.4).
    Kept for backward: the inputs; everything between is recomputed.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        conv_weight: (2D, R, K), the filter half first.
        conv_bias: (2D,) or None.
        out_weight: (R+S, D), both 1x1s, the residual part first; S may be 0.
        out_bias: (R+S,) or None.
        cond: added before the gate: (B, 2D, T), or (B, 2D, 1) for all times alike.
        dilation: steps between taps, from 1; it may exceed T.
        padding: "causal" (outputs at t see x[<=t]) or "same" (symmetric, K odd).
        residual_scale: 1 as in WaveNet; wavenet_vocoder uses sqrt(0.5).
        step: added to what is convolved, not to what is passed on, and nothing outside the signal
            (DiffWave, arXiv 2009.09761, section 3.1): (B, R, T), or (B, R, 1) for all times alike.
        dropout: the probability with which an element of what is convolved is zero, before `step`
            is added, which is dropped nowhere; the others are divided by 1 - dropout. Drawn by
            torch's generator at every call: training or not is the caller's to know.

    Returns:
        residual (B, R, T) and skip (B, S, T) in the dtype of `x` and in the memory order of
        (B, T, C) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    refuse_tensor("residual_block", residual_scale)
    kept = draw_kept("residual_block", x, 1, dropout)
    tensors = (x, conv_weight, conv_bias, out_weight, out_bias, cond, step, kept)
    residual, skip = invoke(
        "residual_block",
        tensors,
        integer("residual_block", "dilation", dilation),
        padding,
        residual_scale,
        dropout,
    )
    return residual, skip


register(
    "residual_block(Tensor x, Tensor conv_weight, Tensor? conv_bias, Tensor out_weight, "
    "Tensor? out_bias, Tensor? cond, Tensor? step, Tensor? kept, int dilation, str padding, "
    "float residual_scale, float dropout, str backend) -> (Tensor, Tensor)"
)
