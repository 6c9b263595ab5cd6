"""Flows without memory: the backward pass computes what went in from what came out.

Source: Gomez et al. 2017, "The Reversible Residual Network" (arXiv 1707.04585), section 3; here
the network's half passes a coupling unchanged, so that its activations, which the gradients need
anyway, also undo the coupling.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wavenet.generation.flow import Flow, times


class ReversibleFlows(torch.autograd.Function):
    """Flows in a row, of which only the outputs are kept.

    `apply(flows, sizes, rows, condition, *parameters)`: rows (B, N, c); `sizes[k]` channels leave
    before flow k -> z (B, N, c), what left first; log-determinants (B,) of the couplings. The
    parameters are the flows' own, in their order.
    """

    @staticmethod
    def forward(
        ctx: Any, flows: list[Flow], sizes: list[int], rows: Tensor, condition: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.flows, ctx.sizes = flows, sizes
        kind = rows.device.type
        ctx.autocast = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
        }
        z, log_determinant = run(flows, sizes, rows, condition)
        ctx.save_for_backward(z, condition)
        return z, log_determinant

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log: Tensor) -> tuple[Any, ...]:
        z, condition = ctx.saved_tensors
        left = sum(ctx.sizes)
        rows, grad = z[:, :, left:], grad_z[:, :, left:]
        grad_condition = torch.zeros_like(condition) if ctx.needs_input_grad[3] else None
        gradients: dict[int, Tensor | None] = {}
        with torch.autocast(**ctx.autocast):
            for flow, size in zip(reversed(ctx.flows), reversed(ctx.sizes), strict=True):
                rows, grad = _back(flow, rows, condition, grad, grad_log, grad_condition, gradients)
                if size:
                    left -= size
                    rows = torch.cat((z[:, :, left : left + size], rows), dim=2)
                    grad = torch.cat((grad_z[:, :, left : left + size], grad), dim=2)
        own = [gradients[id(p)] for flow in ctx.flows for p in flow.parameters()]
        return None, None, grad, grad_condition, *own


def run(
    flows: list[Flow], sizes: list[int], rows: Tensor, condition: Tensor
) -> tuple[Tensor, Tensor]:
    """All flows in their order: z (B, N, c), what left first; log-determinants (B,)."""
    log_determinant = rows.new_zeros(rows.shape[0])
    gone = []
    for flow, size in zip(flows, sizes, strict=True):
        if size:
            gone.append(rows[:, :, :size])
            rows = rows[:, :, size:]
        rows, log_scale = flow(rows, condition)
        log_determinant = log_determinant + log_scale
    return torch.cat((*gone, rows), dim=2), log_determinant


def _back(
    flow: Flow,
    rows: Tensor,
    condition: Tensor,
    grad: Tensor,
    grad_log: Tensor,
    grad_condition: Tensor | None,
    gradients: dict[int, Tensor | None],
) -> tuple[Tensor, Tensor]:
    """What went into a flow, and its gradient; the parameters' and the condition's are noted."""
    says, changed = (half.detach() for half in flow.halves(rows))
    grad_says, grad_changed = flow.halves(grad)
    weights = [p for p in flow.network.parameters() if p.requires_grad]
    with torch.enable_grad():
        says.requires_grad_()
        condition = condition.detach().requires_grad_(grad_condition is not None)
        shift, log_scale = flow.network(says, condition)
        before = ((changed - shift) * (-log_scale).exp()).detach().requires_grad_()
        after = log_scale.exp() * before + shift
        wanted = [says, before, *([condition] if grad_condition is not None else []), *weights]
        found = torch.autograd.grad(
            (after, log_scale.sum((1, 2))), wanted, (grad_changed, grad_log), allow_unused=True
        )
    own_says, own_before, *rest = found
    if grad_condition is not None:
        grad_condition += rest.pop(0)
    gradients.update((id(p), None) for p in flow.parameters())
    gradients.update((id(p), g) for p, g in zip(weights, rest, strict=True))
    mixed = flow.whole(says.detach(), before.detach())
    grad_mixed = flow.whole(grad_says + own_says, own_before)
    convolution = flow.convolution
    came = convolution.inverse(mixed)
    if convolution.weight.requires_grad:
        weight = times(grad_mixed.flatten(0, 1).T, came.flatten(0, 1))
        gradients[id(convolution.weight)] = weight.to(convolution.weight.dtype)
    return came, times(grad_mixed, convolution.weight.to(grad_mixed.dtype))
