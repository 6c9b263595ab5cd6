"""Every operator in plain PyTorch, a few lines each: this file is the specification.

Nothing here is fast, checked or fused. Differentiate it with autograd, run it in float64, and
you have what every backend is measured against. Symbols as everywhere in this package: B batch,
T time, R residual channels, D dilation channels (each of filter and gate), S skip channels,
K taps, L layers. The filter (tanh) half of 2D channels comes first, the gate (sigmoid) half
second; of R+S channels the residual part comes first. Tensors are (B, C, T).

Sources: van den Oord et al. 2016, "WaveNet" (arXiv 1609.03499), sections 2.1 (dilated causal
convolution), 2.3 (gated activation), 2.4 (residual and skip), 2.5 (conditioning).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def padding_of(kernel_size: int, dilation: int, padding: str) -> tuple[int, int]:
    """Zeros on the left and right that keep T: "causal" sees y[t] from x[<=t], "same" is even."""
    halo = (kernel_size - 1) * dilation
    return (halo, 0) if padding == "causal" else (halo // 2, halo // 2)


def gated_activation(a: Tensor, cond: Tensor | None = None) -> Tensor:
    """tanh(filter) * sigmoid(gate). a (B, 2D, T), cond (B, 2D, T or 1) -> (B, D, T)."""
    if cond is not None:
        a = a + cond
    filter_, gate = a.chunk(2, dim=1)
    return torch.tanh(filter_) * torch.sigmoid(gate)


def dilated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: str = "causal",
) -> Tensor:
    """y[t] = sum_k W_k x[t - (K-1-k) d] + b. x (B, R, T), weight (C, R, K) -> (B, C, T)."""
    x = F.pad(x, padding_of(weight.shape[2], dilation, padding))
    return F.conv1d(x, weight, bias, dilation=dilation)


def gated_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    cond: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: str = "causal",
) -> Tensor:
    """The gate of a dilated convolution. x (B, R, T), weight (2D, R, K) -> (B, D, T)."""
    return gated_activation(
        dilated_conv1d(x, weight, bias, dilation=dilation, padding=padding), cond
    )


def residual_block(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilation: int = 1,
    padding: str = "causal",
    residual_scale: float = 1.0,
    step: Tensor | None = None,
    kept: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """One WaveNet layer. x (B, R, T) -> residual (B, R, T), skip (B, S, T).

    conv_weight (2D, R, K), out_weight (R+S, D): residual = s (x + V_r z + v_r), skip = V_s z + v_s.
    What is convolved, and nothing else, has lost to `dropout` what isn't `kept`, (1, B, R, T) of
    bool, and has `step`, (B, R, T or 1), added to it.
    """
    heard = x if kept is None else x * kept[0] / (1 - dropout)
    heard = heard if step is None else heard + step
    z = gated_conv1d(heard, conv_weight, conv_bias, cond, dilation=dilation, padding=padding)
    out = F.conv1d(z, out_weight.unsqueeze(-1), out_bias)
    residual, skip = out.split([x.shape[1], out.shape[1] - x.shape[1]], dim=1)
    return residual_scale * (x + residual), skip


def residual_stack(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilations: Sequence[int],
    padding: str = "causal",
    residual_scale: float = 1.0,
    last_residual: bool = True,
    step: Tensor | None = None,
    kept: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """A chain of residual blocks whose skips are summed.

    x (B, R, T) -> residual (B, R, T), skip (B, S, T). Weights as in `residual_block` with a
    leading L; layer l owns channels l*2D .. (l+1)*2D of cond (B, L*2D, T or 1), channels
    l*R .. (l+1)*R of step (B, L*R, T or 1), and kept[l] of kept (L, B, R, T). Without
    `last_residual` the residual is empty, (B, 0, T).
    """
    skip_sum: Tensor | float = 0.0
    for layer, dilation in enumerate(dilations):
        x, skip = residual_block(
            x,
            conv_weight[layer],
            None if conv_bias is None else conv_bias[layer],
            out_weight[layer],
            None if out_bias is None else out_bias[layer],
            None if cond is None else cond.chunk(len(dilations), dim=1)[layer],
            dilation=dilation,
            padding=padding,
            residual_scale=residual_scale,
            step=None if step is None else step.chunk(len(dilations), dim=1)[layer],
            kept=None if kept is None else kept[layer : layer + 1],
            dropout=dropout,
        )
        skip_sum = skip_sum + skip
    assert isinstance(skip_sum, Tensor)
    return (x if last_residual else x[:, :0]), skip_sum


def residual_stack_stream(
    x: Tensor,
    state: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    cond: Tensor | None = None,
    *,
    dilations: Sequence[int],
    residual_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The causal `residual_stack` over one chunk of a longer signal.

    state (B, sum of (K-1) d over layers, R) holds, layer after layer, the last (K-1) d inputs of
    each, oldest first; zeros at the start. -> residual (B, R, T), skip (B, S, T), new state.
    """
    kernel_size = conv_weight.shape[3]
    pieces = state.split([(kernel_size - 1) * d for d in dilations], dim=1)
    new_state, skip_sum = [], torch.zeros_like(x[:, :1])
    for layer, (dilation, past) in enumerate(zip(dilations, pieces, strict=True)):
        seen = torch.cat([past.transpose(1, 2), x], dim=2)
        new_state.append(seen[:, :, seen.shape[2] - past.shape[1] :].transpose(1, 2))
        c = None if cond is None else cond.chunk(len(dilations), dim=1)[layer]
        bias = None if conv_bias is None else conv_bias[layer]
        z = gated_activation(F.conv1d(seen, conv_weight[layer], bias, dilation=dilation), c)
        bias = None if out_bias is None else out_bias[layer]
        out = F.conv1d(z, out_weight[layer].unsqueeze(-1), bias)
        residual, skip = out.split([x.shape[1], out.shape[1] - x.shape[1]], dim=1)
        x, skip_sum = residual_scale * (x + residual), skip_sum + skip
    return x, skip_sum, torch.cat(new_state, dim=1)
