"""A stack whose layers convolve something else than they pass on, on any backend.

Layer by layer: what the layer hears is made, a backend computes the layer of that, and what the
layer passes on is added here. To the backend it is a layer without a residual, all of whose 1x1
goes to the skip: so what comes back is the 1x1 alone, and in backward the gradient of what was
convolved alone, neither with a residual path in it that would have to be subtracted again. The
passes over memory that this adds are few beside a layer's work (benchmarks/NOTES.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet_kernels.backends.contract import Backend
from wavenet_kernels.call import Call, Gradients, Outputs
from wavenet_kernels.rows import empty_rows

_PROBABILITY = "a number from 0 and below 1"


def draw_kept(operator: str, x: Tensor, layers: int, dropout: object) -> Tensor | None:
    """What dropout leaves of each layer's input, (L, B, R, T) of bool; None where that is all."""
    if not isinstance(dropout, (int, float)):  # a tensor would silently be a constant
        raise TypeError(f"{operator}: dropout is {dropout!r}; accepted is {_PROBABILITY}")
    if not 0 <= dropout < 1:
        raise ValueError(f"{operator}: dropout is {dropout!r}; accepted is {_PROBABILITY}")
    if dropout == 0 or not hasattr(x, "dim") or x.dim() != 3:  # the operator says what is wrong
        return None
    batch, residual, time = x.shape
    kept = torch.empty(layers, batch, time, residual, dtype=torch.bool, device=x.device)
    return kept.bernoulli_(1 - dropout).transpose(2, 3)


def without_residuals(call: Call) -> Call:
    """The stack as the layers of it are computed: what decides which backend does."""
    settings = replace(call.settings, last_residual=False, checkpoint_every=1)
    return replace(_into_skip(call, residual=True, skip=True), settings=settings)


class LayerByLayer:
    """What `contract.Backend` does with a stack, for one whose layers hear something else."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def forward(self, call: Call, outputs: Outputs) -> None:
        x, settings, residual = call.tensors.x, call.settings, call.sizes.R
        last = len(settings.dilations) - 1
        heard, between = empty_rows(x, *x.shape), empty_rows(x, *x.shape)
        made = _empty_made(x, outputs.skip)
        for index in range(last + 1):
            following = between if index < last else outputs.residual
            if outputs.saved is not None and index < last:
                slot, kept_back = divmod(index + 1, settings.checkpoint_every)
                if kept_back == 0:
                    following = outputs.saved[slot - 1].transpose(1, 2)
            if following is None:
                made = made[:, residual:]
            what = _hear(call, index, x, heard)
            layer = _layer(call, index, what, following is not None, outputs.skip is not None)
            gates = None if outputs.gates is None else outputs.gates[index : index + 1]
            self._backend.forward(layer, Outputs(skip=made, gates=gates))
            if outputs.skip is not None:
                skip = made[:, made.shape[1] - outputs.skip.shape[1] :]
                _ = outputs.skip.add_(skip) if index else outputs.skip.copy_(skip)
            if following is not None:
                torch.add(x, made[:, :residual], out=following)
                if settings.residual_scale != 1:
                    following.mul_(settings.residual_scale)
                x = following

    def backward(self, call: Call, gradients: Outputs, outputs: Gradients) -> None:
        first, sizes, grad = call.tensors.x, call.sizes, gradients.residual
        heard, given = empty_rows(first, *first.shape), _empty_made(first, gradients.skip)
        passed = given[:, : sizes.R]  # by way of the residual
        if gradients.skip is not None:
            given[:, sizes.R :] = gradients.skip
        # It holds the gradients of later layers' inputs as well.
        grad_x = outputs.x if outputs.x is not None else empty_rows(first, *first.shape)
        for index in reversed(range(len(call.settings.dilations))):
            x = first
            if index > 0:
                assert gradients.saved is not None
                x = gradients.saved[index - 1].transpose(1, 2)
            what = _hear(call, index, x, heard)
            layer = _layer(call, index, what, grad is not None, gradients.skip is not None)
            if grad is not None:
                torch.mul(grad, call.settings.residual_scale, out=passed)
            part = outputs.layers(index, index + 1, sizes)
            needs_x = index > 0 or outputs.x is not None
            weight = _empty_if(part.out_weight, layer.tensors.out_weight)
            bias = _empty_if(part.out_bias, layer.tensors.out_bias)
            self._backend.backward(
                layer,
                Outputs(
                    skip=given if grad is not None else given[:, sizes.R :],
                    gates=None if gradients.gates is None else gradients.gates[index : index + 1],
                ),
                replace(
                    part,
                    x=grad_x if needs_x or part.step is not None else None,
                    out_weight=weight,
                    out_bias=bias,
                    step=None,
                ),
            )
            rows = _rows(sizes.R, grad is not None, gradients.skip is not None)
            for output, computed in ((part.out_weight, weight), (part.out_bias, bias)):
                if output is not None and computed is not None:
                    output.zero_()
                    output[:, rows] = computed[:, sizes.R :]
            if part.step is not None:
                constant = part.step.shape[2] != grad_x.shape[2]
                part.step.copy_(grad_x.sum(2, keepdim=True) if constant else grad_x)
            if not needs_x:
                return
            assert call.heard is not None
            if call.heard.kept is not None:
                grad_x.mul_(call.heard.kept[index]).mul_(1 / (1 - call.heard.dropout))
            if grad is not None:
                grad_x.add_(passed)
            grad = grad_x


def _hear(call: Call, index: int, x: Tensor, out: Tensor) -> Tensor:
    """What the layer convolves of an input x."""
    assert call.heard is not None
    heard = call.heard.layers(index, index + 1, call.sizes.R)
    if heard.kept is None:
        assert heard.step is not None
        return torch.add(x, heard.step, out=out)
    torch.mul(x, heard.kept[0], out=out)
    factor = 1 / (1 - heard.dropout)
    if heard.step is None:
        return out.mul_(factor)
    return torch.add(heard.step, out, alpha=factor, out=out)


def _layer(call: Call, index: int, heard: Tensor, residual: bool, skip: bool) -> Call:
    """The layer as a backend computes it of what it hears."""
    layer = call.layers(index, index + 1, heard, last_residual=False)
    return _into_skip(layer, residual=residual, skip=skip)


def _into_skip(call: Call, *, residual: bool, skip: bool) -> Call:
    """With those rows of the 1x1s that are to be computed as the skip's, and none to the residual.

    Backends don't read the residual's rows of a last layer whose residual nobody asks for.
    """
    channels, tensors = call.sizes.R, call.tensors
    rows = _rows(channels, residual, skip)
    assert tensors.out_weight is not None
    weight, bias = F.pad(tensors.out_weight[:, rows], (0, 0, channels, 0)), tensors.out_bias
    if bias is not None:
        bias = F.pad(bias[:, rows], (channels, 0))
    return replace(call, tensors=replace(tensors, out_weight=weight, out_bias=bias), heard=None)


def _rows(channels: int, residual: bool, skip: bool) -> slice:
    return slice(0 if residual else channels, None if skip else channels)


def _empty_made(x: Tensor, skip: Tensor | None) -> Tensor:
    """Room for what a layer's 1x1s make, (B, R+S, T), or for the gradient of that."""
    batch, residual, time = x.shape
    return empty_rows(x, batch, residual + (0 if skip is None else skip.shape[1]), time)


def _empty_if(wanted: Tensor | None, like: Tensor | None) -> Tensor | None:
    return None if wanted is None or like is None else torch.empty_like(like)
