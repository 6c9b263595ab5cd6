"""residual_stack: a whole stack of residual layers in one autograd node."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.call import Keep, Padding, gates_are_worth_keeping
from wavenet_kernels.kept import PLAIN
from wavenet_kernels.ops._heard import draw_kept
from wavenet_kernels.ops._invoke import integers, invoke, refuse_tensor
from wavenet_kernels.ops._register import register


def residual_stack(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilations: Sequence[int],
    padding: Padding = "causal",
    residual_scale: float = 1.0,
    last_residual: bool = True,
    checkpoint_every: int = 1,
    keep: Keep = "auto",
    step: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """A chain of residual layers (`residual_block`) and the sum of their skips.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), figure 4. The whole stack is one
    autograd node that keeps the input of every `checkpoint_every`-th layer, and what goes into the
    gates where `keep` says so.

    Args:
        x: (B, R, T); float32, float64, bfloat16 or float16.
        conv_weight: (L, 2D, R, K), the filter half first.
        conv_bias: (L, 2D) or None.
        out_weight: (L, R+S, D), both 1x1s of each layer, the residual part first; S may be 0.
        out_bias: (L, R+S) or None.
        cond: added before the gates: (B, L*2D, T), or (B, L*2D, 1) for all times alike;
            layer l owns channels l*2D .. (l+1)*2D.
        dilations: L ints from 1, one for each layer; they may exceed T.
        padding: "causal" (outputs at t see x[<=t]) or "same" (symmetric, K odd).
        residual_scale: 1 as in WaveNet; wavenet_vocoder uses sqrt(0.5).
        last_residual: False for a stack whose residual output nobody needs; it is then not
            computed and comes back empty, (B, 0, T).
        checkpoint_every: keep every n-th layer's input for backward; n > 1 saves memory and costs
            a second forward of the layers between.
        keep: what backward goes on from. "inputs": the layers' inputs, R values a position and
            layer, from which it computes the gates again. "gates": what goes into those too, 2D
            values more; not with checkpoint_every > 1, nor on a GPU. "auto": gates on CPUs for
            wide layers, K R >= 256, or 128 where that is no more than 256 MiB and nothing is being
            compiled, which takes no more memory than eager PyTorch; else inputs. Gradients are the
            same bits.
        step: added to what a layer convolves, not to what it passes on, and nothing outside the
            signal (DiffWave, arXiv 2009.09761, section 3.1): (B, L*R, T), or (B, L*R, 1) for all
            times alike; layer l owns channels l*R .. (l+1)*R.
        dropout: the probability with which an element of what a layer convolves is zero, before
            `step` is added, which is dropped nowhere; the others are divided by 1 - dropout. Drawn
            by torch's generator at every call: training or not is the caller's to know. What it
            leaves is kept for backward, a byte for each of L*R values a position.

    Returns:
        residual (B, R, T) and the skip sum (B, S, T) in the dtype of `x` and in the memory order
        of (B, T, C) rows.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: a backend was named that can't serve the call.

    Any strides are accepted; a contiguous (B, C, T) input may cost a fused backend a
    transposition, a (B, T, C) one seen through ``.transpose(1, 2)`` costs nothing.
    """
    refuse_tensor("residual_stack", residual_scale)
    dilations = integers("residual_stack", "dilations", dilations)
    kept = draw_kept("residual_stack", x, len(dilations), dropout)
    tensors = (x, conv_weight, conv_bias, out_weight, out_bias, cond, step, kept)
    if keep == "auto" and checkpoint_every == 1 and step is None and kept is None:
        keep = _keep_of_few(x, conv_weight)
    residual, skip = invoke(
        "residual_stack",
        tensors,
        dilations,
        padding,
        residual_scale,
        last_residual,
        checkpoint_every,
        keep,
        dropout,
    )
    return residual, skip


def _keep_of_few(x: Tensor, conv_weight: Tensor) -> Keep:
    """What "auto" is where few gates are worth keeping; how many there are is no compiler's."""
    if torch.compiler.is_compiling() or backends.current_backend() not in ("auto", "cpu"):
        return "auto"
    if type(x) not in PLAIN or type(conv_weight) not in PLAIN or not x.is_cpu:
        return "auto"
    if x.dim() != 3 or conv_weight.dim() != 4:
        return "auto"  # which is refused in words
    layers, gates, residual, taps = conv_weight.shape
    positions = x.shape[0] * x.shape[2]
    worth = gates_are_worth_keeping(residual, gates // 2, taps, layers, positions, x.element_size())
    return "gates" if worth else "auto"


register(
    "residual_stack(Tensor x, Tensor conv_weight, Tensor? conv_bias, Tensor out_weight, "
    "Tensor? out_bias, Tensor? cond, Tensor? step, Tensor? kept, int[] dilations, str padding, "
    "float residual_scale, bool last_residual, int checkpoint_every, str keep, float dropout, "
    "str backend) -> (Tensor, Tensor)"
)
