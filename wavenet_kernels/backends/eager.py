"""The backend "reference": every operator in eager PyTorch, on every device and dtype it has.

Forward is `wavenet_kernels.reference`; backward is the gradient of it worked out by hand, layer by
layer, with the pre-activations recomputed from the layer's input. Whoever writes a kernel finds
here the formulas that it must implement, in the order in which it will compute them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet_kernels import reference
from wavenet_kernels.call import COMMON_SETTINGS, Call, Gradients, Outputs

SETTINGS = COMMON_SETTINGS


def unavailable() -> str | None:
    """PyTorch is always there."""
    return None


def describe() -> str:
    return f"plain PyTorch {torch.__version__}, any device and dtype"


def supports(call: Call) -> str | None:
    """It computes every call."""
    return None


def forward(call: Call, outputs: Outputs) -> None:
    if call.operator == "residual_stack":
        _stack(call, outputs)
        return
    assert outputs.y is not None
    if call.operator == "gated_activation":
        outputs.y.copy_(reference.gated_activation(call.tensors.x, call.tensors.cond))
        return
    layer = _layers(call)[0]
    y = layer.convolution(call.tensors.x)
    outputs.y.copy_(y if call.operator == "dilated_conv1d" else layer.gate(y))


def backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    if call.operator == "residual_stack":
        _stack_backward(call, gradients, outputs)
        return
    x, cond, grad = call.tensors.x, call.tensors.cond, gradients.y
    assert grad is not None
    if call.operator == "gated_activation":
        grad_a = _gate_backward(grad, x if cond is None else x + cond)
        _write(outputs.x, grad_a)
        return
    layer, of_layer = _layers(call)[0], outputs.layers(0, 1, call.sizes)
    if call.operator == "gated_conv1d":
        grad = _gate_backward(grad, layer.preactivation(x))
        _write_cond(outputs.cond, grad)
    _write(outputs.x, layer.convolution_backward(grad, x, of_layer, needs_x=outputs.x is not None))


class _EagerLayer:
    """A layer of a call: the formulas of its forward and backward pass."""

    def __init__(self, call: Call, index: int) -> None:
        tensors, settings, channels = call.tensors, call.settings, 2 * call.sizes.D
        assert tensors.conv_weight is not None
        self.conv_weight = tensors.conv_weight[index]
        self.conv_bias = None if tensors.conv_bias is None else tensors.conv_bias[index]
        self.out_weight = None if tensors.out_weight is None else tensors.out_weight[index]
        self.out_bias = None if tensors.out_bias is None else tensors.out_bias[index]
        cond = tensors.cond
        self.cond = None if cond is None else cond.narrow(1, index * channels, channels)
        self.dilation, self.padding = settings.dilations[index], settings.padding
        self.scale = settings.residual_scale

    def convolution(self, x: Tensor) -> Tensor:
        return reference.dilated_conv1d(
            x, self.conv_weight, self.conv_bias, dilation=self.dilation, padding=self.padding
        )

    def preactivation(self, x: Tensor) -> Tensor:
        a = self.convolution(x)
        return a if self.cond is None else a + self.cond

    def gate(self, a: Tensor) -> Tensor:
        return reference.gated_activation(a, self.cond)

    def forward(
        self, x: Tensor, *, residual: bool, skip: bool, gates: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The residual and the skip of x, those that are asked for; what goes into the gates."""
        assert self.out_weight is not None
        a, channels = self.preactivation(x), x.shape[1]
        if gates is not None:
            gates.copy_(a.transpose(1, 2))
        z = reference.gated_activation(a)
        rows = slice(0 if residual else channels, None if skip else channels)
        bias = None if self.out_bias is None else self.out_bias[rows]
        out = F.conv1d(z, self.out_weight[rows].unsqueeze(-1), bias)
        return (
            self.scale * (x + out[:, :channels]) if residual else None,
            out[:, channels if residual else 0 :] if skip else None,
        )

    def backward(
        self,
        grad_residual: Tensor | None,
        grad_skip: Tensor | None,
        x: Tensor,
        outputs: Gradients,
        *,
        needs_x: bool,
        gates: Tensor | None,
    ) -> Tensor | None:
        """Writes the gradients of the layer's tensors that there are; that of x is returned."""
        assert self.out_weight is not None
        a = self.preactivation(x) if gates is None else gates.transpose(1, 2).to(x.dtype)
        z = reference.gated_activation(a)
        parts = []
        if grad_residual is not None:
            parts.append(self.scale * grad_residual)
        if grad_skip is not None:
            parts.append(grad_skip)
        rows = slice(
            0 if grad_residual is not None else x.shape[1],
            None if grad_skip is not None else x.shape[1],
        )
        grad_out = torch.cat(parts, dim=1)
        grad_z = F.conv1d(grad_out, self.out_weight[rows].t().unsqueeze(-1))
        grad_a = _gate_backward(grad_z, a)
        if outputs.out_weight is not None:
            outputs.out_weight.zero_()
            outputs.out_weight[0, rows] = _channels_first(grad_out) @ _channels_first(z).t()
        if outputs.out_bias is not None:
            outputs.out_bias.zero_()
            outputs.out_bias[0, rows] = grad_out.sum((0, 2))
        _write_cond(outputs.cond, grad_a)
        grad_x = self.convolution_backward(grad_a, x, outputs, needs_x=needs_x)
        if grad_x is None or grad_residual is None:
            return grad_x
        return grad_x + self.scale * grad_residual

    def convolution_backward(
        self, grad: Tensor, x: Tensor, outputs: Gradients, *, needs_x: bool
    ) -> Tensor | None:
        """Writes the gradients of weight and bias that there are; that of x is returned."""
        weight = self.conv_weight
        left, right = reference.padding_of(weight.shape[2], self.dilation, self.padding)
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad,
            F.pad(x, (left, right)),
            weight,
            [weight.shape[0]],
            stride=[1],
            padding=[0],
            dilation=[self.dilation],
            transposed=False,
            output_padding=[0],
            groups=1,
            output_mask=[
                needs_x,
                outputs.conv_weight is not None,
                outputs.conv_bias is not None,
            ],
        )
        _write(outputs.conv_weight, grad_weight)
        _write(outputs.conv_bias, grad_bias)
        return grad_x[:, :, left : left + x.shape[2]] if needs_x else None


def _layers(call: Call) -> Sequence[_EagerLayer]:
    return [_EagerLayer(call, index) for index in range(len(call.settings.dilations))]


def _stack(call: Call, outputs: Outputs) -> None:
    x, every, layers = call.tensors.x, call.settings.checkpoint_every, _layers(call)
    skip_sum: Tensor | None = None
    for index, layer in enumerate(layers):
        if outputs.saved is not None and index > 0 and index % every == 0:
            outputs.saved[index // every - 1].copy_(x.transpose(1, 2))
        more = index < len(layers) - 1 or outputs.residual is not None
        gates = None if outputs.gates is None else outputs.gates[index]
        residual, skip = layer.forward(x, residual=more, skip=outputs.skip is not None, gates=gates)
        if skip is not None:
            skip_sum = skip if skip_sum is None else skip_sum + skip
        x = x if residual is None else residual
    _write(outputs.residual, x)
    _write(outputs.skip, skip_sum)


def _stack_backward(call: Call, gradients: Outputs, outputs: Gradients) -> None:
    layers, sizes = _layers(call), call.sizes
    grad = gradients.residual
    for index in reversed(range(len(layers))):
        x = call.tensors.x
        if index > 0:
            assert gradients.saved is not None
            x = gradients.saved[index - 1].transpose(1, 2)
        grad = layers[index].backward(
            grad,
            gradients.skip,
            x,
            outputs.layers(index, index + 1, sizes),
            # Whether or not the caller asks for x's gradient, all layers but the first need it.
            needs_x=index > 0 or outputs.x is not None,
            gates=None if gradients.gates is None else gradients.gates[index],
        )
    _write(outputs.x, grad)


class _EagerStream:
    """`reference.residual_stack_stream`, with its weights and state."""

    def __init__(self, call: Call) -> None:
        self._call, sizes = call, call.sizes
        rows = (sizes.K - 1) * sum(call.settings.dilations)
        self._state = call.tensors.x.new_zeros(sizes.B, rows, sizes.R)

    @torch.no_grad()
    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        tensors, settings = self._call.tensors, self._call.settings
        assert tensors.conv_weight is not None and tensors.out_weight is not None
        residual, skip, self._state = reference.residual_stack_stream(
            x,
            self._state,
            tensors.conv_weight,
            tensors.conv_bias,
            tensors.out_weight,
            tensors.out_bias,
            cond,
            dilations=settings.dilations,
            residual_scale=settings.residual_scale,
        )
        outputs = self._call.with_chunk(x, cond).empty_outputs()
        assert outputs.residual is not None and outputs.skip is not None
        return outputs.residual.copy_(residual), outputs.skip.copy_(skip)

    def reset(self) -> None:
        self._state = torch.zeros_like(self._state)

    def state(self) -> Tensor:
        return self._state.clone()

    def load_state(self, state: Tensor) -> None:
        self._state = state.clone(memory_format=torch.contiguous_format)


def stream(call: Call) -> _EagerStream:
    return _EagerStream(call)


def _channels_first(tensor: Tensor) -> Tensor:
    """(B, C, T) -> (C, B*T)."""
    return tensor.transpose(0, 1).flatten(1)


def _gate_backward(grad: Tensor, a: Tensor) -> Tensor:
    filter_, gate = a.chunk(2, dim=1)
    tanh, sigmoid = torch.tanh(filter_), torch.sigmoid(gate)
    grad_filter = grad * sigmoid * (1 - tanh * tanh)
    grad_gate = grad * tanh * sigmoid * (1 - sigmoid)
    return torch.cat([grad_filter, grad_gate], dim=1)


def _write(output: Tensor | None, value: Tensor | None) -> None:
    if output is not None:
        assert value is not None
        output.copy_(value.unsqueeze(0) if value.dim() < output.dim() else value)


def _write_cond(output: Tensor | None, grad_a: Tensor) -> None:
    if output is not None:
        global_ = output.shape[2] != grad_a.shape[2]
        output.copy_(grad_a.sum(2, keepdim=True) if global_ else grad_a)
