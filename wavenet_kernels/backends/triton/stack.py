"""A stack of residual layers, layer after layer: forward, backward, and fed chunk by chunk.

And the bare convolutions, which are parts of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wavenet_kernels.backends.triton import passes
from wavenet_kernels.backends.triton.launcher import on_device_of
from wavenet_kernels.backends.triton.passes import LayerGradients, PackedLayer
from wavenet_kernels.call import Call, Gradients, Outputs
from wavenet_kernels.rows import channels_last, empty_rows


def pack_layers(call: Call) -> list[PackedLayer]:
    """The layers of a stack, or the gated convolution that a call is; cond is sliced in place."""
    tensors, settings, gated = call.tensors, call.settings, 2 * call.sizes.D
    assert tensors.conv_weight is not None
    conv = passes.pack_gate(tensors.conv_weight)
    conv_bias, out, out_bias = (
        None if weight is None else weight.contiguous()
        for weight in (tensors.conv_bias, tensors.out_weight, tensors.out_bias)
    )
    cond = channels_last(tensors.cond)
    return [
        PackedLayer(
            conv[n],
            None if conv_bias is None else conv_bias[n],
            None if out is None else out[n],
            None if out_bias is None else out_bias[n],
            None if cond is None else cond.narrow(1, n * gated, gated),
            dilation,
            settings.padding,
            settings.residual_scale,
        )
        for n, dilation in enumerate(settings.dilations)
    ]


def forward(call: Call, outputs: Outputs) -> None:
    """Residual, skip sum, and the inputs of every `checkpoint_every`-th layer but the first."""
    stack, every, last = pack_layers(call), call.settings.checkpoint_every, outputs.residual
    x = channels_last(call.tensors.x)
    # Inputs that are not saved alternate between two buffers, counted from the end: the last layer
    # may write to the second of them, its residual, and its own input must not be there.
    scratch: list[Tensor] = []
    inputs: list[Tensor | None] = [last]
    unsaved = 0
    for n in range(len(stack) - 1, 0, -1):
        if outputs.saved is not None and n % every == 0:
            inputs.append(outputs.saved[n // every - 1].transpose(1, 2))
            continue
        if unsaved < 2:
            reuse = unsaved == 1 and last is not None
            scratch.append(last if reuse and last is not None else empty_rows(x, *x.shape))
        inputs.append(scratch[unsaved % 2])
        unsaved += 1
    for n, (layer, output) in enumerate(zip(stack, reversed(inputs), strict=True)):
        if output is not None or outputs.skip is not None:
            passes.forward(layer, x, residual=output, skip=outputs.skip, accumulate_skip=n > 0)
        if output is not None:
            x = output


def backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    """The gradients of a stack whose every layer's input is in `gradients.saved`."""
    stack, gated = pack_layers(call), 2 * call.sizes.D
    x = channels_last(call.tensors.x)
    grad_cond = outputs.cond
    local = grad_cond is not None and grad_cond.shape[2] == x.shape[2]
    grad, grad_skip = channels_last(gradients.residual), passes.without_gaps(gradients.skip)
    layer_gradients: list[LayerGradients] = []
    # Two: a layer reads its output's gradient at rows where other programs write its input's.
    buffers = [outputs.x if outputs.x is not None else empty_rows(x, *x.shape)]
    if len(stack) > 1:
        buffers.append(empty_rows(x, *x.shape))
    for n in reversed(range(len(stack))):
        layer = stack[n]
        if n > 0:
            assert gradients.saved is not None
            input_ = gradients.saved[n - 1].transpose(1, 2)
        else:
            input_ = x
        grad_x = buffers[n % len(buffers)] if n > 0 or outputs.x is not None else None
        layer_cond = None if grad_cond is None else grad_cond.narrow(1, n * gated, gated)
        run = passes.fused_backward if passes.can_fuse_backward(layer, x) else passes.backward
        found = run(layer, input_, grad, grad_skip, grad_x, layer_cond if local else None)
        if layer_cond is not None and not local:
            layer_cond.copy_(found.a_sums.unsqueeze(2))
        layer_gradients.append(found)
        grad = grad_x
    _write_weights(layer_gradients[::-1], grad_skip, outputs)


def _write_weights(
    layers: Sequence[LayerGradients], grad_skip: Tensor | None, outputs: Gradients
) -> None:
    if outputs.conv_weight is not None:
        packed = torch.stack([layer.conv for layer in layers])
        outputs.conv_weight.copy_(passes.unpack_gate(packed))
    if outputs.conv_bias is not None:
        outputs.conv_bias.copy_(torch.stack([layer.conv_bias for layer in layers]))
    if outputs.out_weight is not None:
        outputs.out_weight.copy_(
            torch.stack([layer.out for layer in layers if layer.out is not None])
        )
    if outputs.out_bias is not None:
        residual = [layer.residual_bias for layer in layers if layer.residual_bias is not None]
        channels = residual[0].shape[0]
        outputs.out_bias[:, :channels].copy_(torch.stack(residual))
        if grad_skip is not None:
            outputs.out_bias[:, channels:].copy_(passes.sum_over_rows(grad_skip))


def gated_convolution_backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    """Of z = gate of the convolution of x."""
    x, cond, layer = channels_last(call.tensors.x), outputs.cond, pack_layers(call)[0]
    local = cond is not None and cond.shape[2] == x.shape[2]
    layer_gradients = passes.backward(
        layer, x, None, channels_last(gradients.y), outputs.x, cond if local else None
    )
    if cond is not None and not local:
        cond.copy_(layer_gradients.a_sums.unsqueeze(2))
    if outputs.conv_weight is not None:
        outputs.conv_weight[0].copy_(passes.unpack_gate(layer_gradients.conv))
    if outputs.conv_bias is not None:
        outputs.conv_bias[0].copy_(layer_gradients.conv_bias)


def convolution_backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    """Of the bare convolution of x."""
    x, grad, weight = channels_last(call.tensors.x), gradients.y, call.tensors.conv_weight
    assert grad is not None and weight is not None
    grad = channels_last(grad)
    dilation, left = call.settings.dilations[0], call.left[0]
    if outputs.x is not None:
        passes.compute_input_gradient(grad, passes.pack(weight[0]), dilation, left, outputs.x)
    if outputs.conv_weight is not None:
        packed = passes.compute_weight_gradient(grad, x, weight.shape[3], dilation, left)
        outputs.conv_weight[0].copy_(passes.unpack(packed))
    if outputs.conv_bias is not None:
        outputs.conv_bias[0].copy_(passes.sum_over_rows(grad))


class StackStream:
    """A causal stack's packed weights, and the past inputs of its layers, in place."""

    def __init__(self, call: Call) -> None:
        self._call, sizes = call, call.sizes
        self._layers = pack_layers(call)
        rows = (sizes.K - 1) * sum(call.settings.dilations)
        self._state = call.tensors.x.new_zeros(sizes.B, rows, sizes.R)

    @torch.no_grad()
    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        outputs = self._call.with_chunk(x, cond).empty_outputs()
        assert outputs.residual is not None and outputs.skip is not None
        x, cond, gated = channels_last(x), channels_last(cond), 2 * self._call.sizes.D
        batch, channels, time = x.shape
        state, new_state = self._state, self._state.new_empty(self._state.shape)
        start = 0
        with on_device_of(x):
            for n, layer in enumerate(self._layers):
                end = start + layer.left
                past, new_past = state[:, start:end], new_state[:, start:end]
                kept = max(0, layer.left - time)
                new_past[:, :kept] = past[:, layer.left - kept :]
                new_past[:, kept:] = x.transpose(1, 2)[:, time - (layer.left - kept) :]
                last = n == len(self._layers) - 1
                residual = outputs.residual if last else empty_rows(x, batch, channels, time)
                passes.forward(
                    layer if cond is None else layer.with_cond(cond.narrow(1, n * gated, gated)),
                    x, residual=residual, skip=outputs.skip, accumulate_skip=n > 0,
                    past=past if layer.left else None,
                )  # fmt: skip
                x, start = residual, end
            state.copy_(new_state)  # in place: a captured step goes on from it
        return outputs.residual, outputs.skip

    def reset(self) -> None:
        self._state.zero_()

    def state(self) -> Tensor:
        return self._state.clone()

    def load_state(self, state: Tensor) -> None:
        self._state.copy_(state)
