"""From a WaveNet written in plain PyTorch, a module for each convolution, to a `ResidualStack`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, SupportsFloat

import torch
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from wavenet_kernels import numerics, use_backend
from wavenet_kernels.call import Padding
from wavenet_kernels.nn.residual import ResidualStack


class EagerLayer(NamedTuple):
    """The convolutions of one residual layer, as modules with or without weight norm, old or new.

    Attributes:
        conv: the dilated convolution that makes filter and gate, the filter's channels first; or
            the two that make them, (filter, gate).
        out: the 1x1 that makes residual and skip, the residual's channels first; or the two,
            (residual, skip), either of which may be None: the last layer's residual is of no use,
            and some layers have no skip.
        local, vector: the 1x1s whose output is added to what `conv` makes: of a signal (B, C, T),
            and of a vector (B, G, 1) for the whole of it. None: there is none.
    """

    conv: nn.Module | tuple[nn.Module, nn.Module]
    out: nn.Module | tuple[nn.Module | None, nn.Module | None]
    local: nn.Module | None = None
    vector: nn.Module | None = None


class MigratedStack(nn.Module):
    """A `ResidualStack` with the weights of others, and what conditions it.

    Attributes:
        stack: the `ResidualStack`.
        local: Conv1d (C -> L*2D), the 1x1s of all layers in one; None where there are none.
        vector: the same of a vector.

    Shapes:
        x (B, R, T), local (B, C, T) or None, vector (B, G, 1) or None, step (B, L*R, T or 1) or
        None -> residual (B, R, T), skip sum (B, S, T).
    """

    def __init__(
        self, stack: ResidualStack, local: nn.Conv1d | None, vector: nn.Conv1d | None
    ) -> None:
        super().__init__()
        self.stack, self.local, self.vector = stack, local, vector

    def forward(
        self,
        x: Tensor,
        local: Tensor | None = None,
        vector: Tensor | None = None,
        step: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The stack's residual and skip sum of x (B, R, T), conditioned by the layers' own 1x1s.

        Args:
            x: (B, R, T).
            local: a signal (B, C, T), where the layers have 1x1s for one.
            vector: (B, G, 1), where they have 1x1s for one.
            step: (B, L*R, T or 1), as of `ResidualStack`.
        """
        cond: Tensor | None = None
        for name, value, layer in (("local", local, self.local), ("vector", vector, self.vector)):
            if value is not None:
                if layer is None:
                    raise ValueError(
                        f"MigratedStack: {name} is given; accepted is None, as no layer has it"
                    )
                made = layer(value)
                cond = made if cond is None else cond + made
        residual, skip = self.stack(x, cond, step)
        return residual, skip


def from_eager(
    layers: nn.Module | Iterable[nn.Module] | Sequence[EagerLayer],
    *,
    padding: Padding | None = None,
    residual_scale: SupportsFloat | None = None,
    dropout: SupportsFloat | None = None,
) -> MigratedStack:
    """The fused stack that computes what these layers do, with copies of their weights.

    Two kinds of layers are known by the names of their parts: wavenet_vocoder's ResidualConv1dGLU
    (a list of them) and WaveGlow's WN (the module; `start`, `end` and what follows stay yours).
    Others are told as an `EagerLayer` each::

        stack = from_eager(
            [EagerLayer((b.filter, b.gate), (b.residual, b.skip)) for b in net.blocks],
            padding="causal",
        )

    Args:
        layers: in the order in which the signal passes them.
        padding: "causal" or "same"; None: that of a known kind, else "causal".
        residual_scale: x' = scale * (x + 1x1(z)); None: that of a known kind, else 1.
        dropout: of what each layer convolves, in training; None: that of a known kind, else 0.

    Returns:
        A module on the device and in the dtype of the first layer's weights, in training if all
        layers are. `require_agreement` says whether it computes the same.

    Raises:
        TypeError, ValueError: layers that no stack can be, with what could.
    """
    told, its_padding, its_scale, its_dropout = _tell(layers)
    convs = [_convolutions(layer, number) for number, layer in enumerate(told)]
    first = convs[0]
    for number, conv in enumerate(convs):
        if conv.weight.shape != first.weight.shape:
            raise ValueError(
                f"from_eager: layer {number} has a convolution of shape "
                f"{tuple(conv.weight.shape)}, layer 0 of {tuple(first.weight.shape)}; accepted are "
                "layers of one shape"
            )
    gates, residual, taps = first.weight.shape
    outs = [_out(layer, residual, gates // 2, number) for number, layer in enumerate(told)]
    skips = {len(weight) - residual for weight, _ in outs}
    if len(skips) != 1:
        raise ValueError(f"from_eager: skips have {sorted(skips)} channels; accepted is one number")
    biased = any(conv.bias is not None for conv in convs) or any(b is not None for _, b in outs)
    stack = ResidualStack(
        residual,
        gates // 2,
        skips.pop(),
        kernel_size=taps,
        dilations=[conv.dilation for conv in convs],
        padding=padding or its_padding,
        bias=biased,
        residual_scale=its_scale if residual_scale is None else residual_scale,
        last_residual=_has_residual(told[-1]),
        dropout=its_dropout if dropout is None else dropout,
        device=first.weight.device,
        dtype=first.weight.dtype,
    )
    with torch.no_grad():
        stack.conv_weight.copy_(torch.stack([conv.weight for conv in convs]))
        stack.out_weight.copy_(torch.stack([weight for weight, _ in outs]))
        if stack.conv_bias is not None and stack.out_bias is not None:
            stack.conv_bias.copy_(torch.stack([_or_zeros(c.bias, c.weight) for c in convs]))
            stack.out_bias.copy_(torch.stack([_or_zeros(b, w) for w, b in outs]))
    local = _conditioning([layer.local for layer in told], gates, "local")
    vector = _conditioning([layer.vector for layer in told], gates, "vector")
    return MigratedStack(stack, local, vector).train(all(_is_training(layer) for layer in told))


@torch.no_grad()
def require_agreement(
    fused: nn.Module, eager: Callable[..., Tensor | tuple[Tensor, ...]], *inputs: Tensor | None
) -> None:
    """Check that a module built on a migrated stack computes what the eager one does.

    The truth is `fused` in float64. What `eager` gives may be off by twice what plain PyTorch is
    off by in its dtype, plus 4 ulp of the largest value (`wavenet_kernels.numerics`).

    Args:
        fused: a `MigratedStack`, or a module that has one.
        eager: what it replaces; any function of the same inputs, which draws nothing at random:
            dropout is off. It gives (residual, skip), or the skip alone where the last layer has no
            residual.
        inputs: for both.

    Raises:
        ValueError: an output is not the same; which one, and by how much. Or `fused` drops
            something at random itself.
    """
    for module in fused.modules():
        if isinstance(module, ResidualStack) and module.training and module.dropout:
            raise ValueError(
                f"require_agreement: fused drops {module.dropout:g} at random; accepted is a "
                "module in eval mode"
            )
    with use_backend("reference"):
        plain = _outputs(fused(*inputs))
        with _in_float64(fused):
            wide = (value if value is None else value.double() for value in inputs)
            truths = _outputs(fused(*wide))
    found = _outputs(eager(*inputs))
    if len(found) != len(truths):
        raise ValueError(
            f"require_agreement: eager gives {len(found)} outputs; accepted are {len(truths)}"
        )
    for number, (theirs, truth, ours) in enumerate(zip(found, truths, plain, strict=True)):
        if broken := numerics.violation(theirs, truth, ours.double() - truth):
            raise ValueError(f"require_agreement: output {number} is not the same: {broken}")


def out_rows(residual: Tensor | None, skip: Tensor | None, channels: int) -> Tensor:
    """What a stack's 1x1 has of a layer's two: (R + S, ...), zeros for a residual of no use."""
    if residual is None:
        assert skip is not None
        residual = skip.new_zeros(channels, *skip.shape[1:])
    return residual if skip is None else torch.cat((residual, skip))


class _Convolution(NamedTuple):
    weight: Tensor
    bias: Tensor | None
    dilation: int


_Told = tuple[list[EagerLayer], Padding, float, float]


def _tell(layers: nn.Module | Iterable[nn.Module] | Sequence[EagerLayer]) -> _Told:
    """The layers as `EagerLayer`s, and the padding, scale and dropout of their kind."""
    if isinstance(layers, nn.Module) and hasattr(layers, "in_layers"):
        return _of_wn(layers)
    if isinstance(layers, nn.Module) and not isinstance(layers, nn.ModuleList):
        raise TypeError(
            f"from_eager: layers is a {type(layers).__name__}; accepted are WaveGlow's WN, a list "
            "of wavenet_vocoder's ResidualConv1dGLU, and one of EagerLayer"
        )
    told, others = [], []
    for layer in layers:
        told.append(layer) if isinstance(layer, EagerLayer) else others.append(layer)
    if not told and not others:
        raise ValueError("from_eager: layers is empty; accepted is one or more")
    return _of_glu(others) if others else (told, "causal", 1.0, 0.0)


def _of_wn(network: nn.Module) -> _Told:
    """WaveGlow's, in all three layouts: conditioning and skips by layer, or in one."""
    convs = _parts(network, "in_layers")
    outs: list[nn.Module | tuple[nn.Module | None, nn.Module | None]]
    if hasattr(network, "res_skip_layers"):
        *both, last = _parts(network, "res_skip_layers")
        outs = [*both, (None, last)]  # of the last layer all is skip
    else:
        residuals = [*_parts(network, "res_layers")[: len(convs) - 1], None]
        outs = list(zip(residuals, _parts(network, "skip_layers"), strict=True))
    locals_: list[nn.Module]
    if hasattr(network, "cond_layer"):
        weight, bias = _plain(_part(network, "cond_layer"))
        parts = weight.chunk(len(convs))
        biases = [None] * len(convs) if bias is None else bias.chunk(len(convs))
        locals_ = [_conv1x1(w, b) for w, b in zip(parts, biases, strict=True)]
    else:
        locals_ = _parts(network, "cond_layers")
    told = [EagerLayer(*layer) for layer in zip(convs, outs, locals_, strict=True)]
    return told, "same", 1.0, 0.0


def _of_glu(layers: Sequence[nn.Module]) -> _Told:
    """wavenet_vocoder's."""
    told = []
    dropouts = {_dropout_of(layer) for layer in layers}
    if len(dropouts) > 1:
        raise ValueError(f"from_eager: layers drop {sorted(dropouts)}; accepted is one number")
    for layer in layers:
        told.append(
            EagerLayer(
                _part(layer, "conv"),
                (_part(layer, "conv1x1_out"), _part(layer, "conv1x1_skip")),
                getattr(layer, "conv1x1c", None),
                getattr(layer, "conv1x1g", None),
            )
        )
    padding: Padding = "causal" if getattr(layers[0], "causal", True) else "same"
    return told, padding, 0.5**0.5, dropouts.pop()


def _dropout_of(layer: nn.Module) -> float:
    """A number, as wavenet_vocoder has it, or a module."""
    dropout = getattr(layer, "dropout", None)
    return float(dropout.p if isinstance(dropout, nn.Dropout) else dropout or 0.0)


def _part(module: object, name: str) -> nn.Module:
    part = getattr(module, name, None)
    if not isinstance(part, nn.Module):
        raise TypeError(
            f"from_eager: a {type(module).__name__} has no module {name}; accepted are WaveGlow's "
            "WN, a list of wavenet_vocoder's ResidualConv1dGLU, and one of EagerLayer"
        )
    return part


def _parts(module: nn.Module, name: str) -> list[nn.Module]:
    part = _part(module, name)
    if not isinstance(part, nn.ModuleList):
        raise TypeError(
            f"from_eager: {name} of a {type(module).__name__} is a {type(part).__name__}; accepted "
            "is a ModuleList"
        )
    return list(part)


def _convolutions(layer: EagerLayer, number: int) -> _Convolution:
    """The dilated convolution of a layer, filter and gate in one."""
    parts = layer.conv if isinstance(layer.conv, tuple) else (layer.conv,)
    found = [_convolution(part, f"the convolution of layer {number}") for part in parts]
    dilations = {conv.dilation for conv in found}
    if len(dilations) > 1:
        raise ValueError(
            f"from_eager: filter and gate of layer {number} have dilations {sorted(dilations)}; "
            "accepted is one"
        )
    weight = torch.cat([conv.weight for conv in found])
    if len(weight) % 2:
        raise ValueError(
            f"from_eager: the convolution of layer {number} has {len(weight)} channels; accepted "
            "is an even number, half of them filters"
        )
    biases = [_or_zeros(conv.bias, conv.weight) for conv in found]
    bias = None if all(conv.bias is None for conv in found) else torch.cat(biases)
    return _Convolution(weight, bias, found[0].dilation)


def _convolution(module: nn.Module, what: str) -> _Convolution:
    dilations = getattr(module, "dilation", (1,))
    for name, accepted in (("groups", 1), ("stride", (1,)), ("padding_mode", "zeros")):
        value = getattr(module, name, accepted)
        if value != accepted:
            raise ValueError(f"from_eager: {what} has {name} {value}; accepted is {accepted}")
    weight, bias = _plain(module)
    if weight.dim() == 2:  # an nn.Linear over channels
        weight = weight[:, :, None]
    if weight.dim() != 3:
        raise ValueError(
            f"from_eager: {what} has a weight of shape {tuple(weight.shape)}; accepted is "
            "(out, in, taps), or (out, in) of one tap"
        )
    return _Convolution(weight, bias, int(dilations[0]))


def _out(
    layer: EagerLayer, residual: int, dilation: int, number: int
) -> tuple[Tensor, Tensor | None]:
    """The 1x1 of a layer, residual and skip in one: (R + S, D) and (R + S)."""
    parts = layer.out if isinstance(layer.out, tuple) else (layer.out,)
    found = []
    for part in parts:
        made = None if part is None else _convolution(part, f"a 1x1 of layer {number}")
        if made is not None and made.weight.shape[1:] != (dilation, 1):
            raise ValueError(
                f"from_eager: a 1x1 of layer {number} has shape {tuple(made.weight.shape)}; "
                f"accepted is (out, {dilation}, 1)"
            )
        found.append(made)
    if len(found) == 1:
        assert found[0] is not None
        weight, bias = found[0].weight[:, :, 0], found[0].bias
    else:
        first, second = found
        if first is None and second is None:
            raise ValueError(f"from_eager: layer {number} has neither residual nor skip")
        weights = [None if one is None else one.weight[:, :, 0] for one in found]
        weight = out_rows(weights[0], weights[1], residual)
        biases = [None if one is None else _or_zeros(one.bias, one.weight) for one in found]
        bias = out_rows(biases[0], biases[1], residual)
        rows = residual if weights[0] is None else len(weights[0])
        if rows != residual:
            raise ValueError(
                f"from_eager: the residual of layer {number} has {rows} channels; accepted are "
                f"{residual}, as many as its input has"
            )
    if len(weight) < residual:
        raise ValueError(
            f"from_eager: the 1x1 of layer {number} has {len(weight)} channels; accepted are at "
            f"least the residual's {residual}"
        )
    return weight, bias


def _is_training(layer: EagerLayer) -> bool:
    conv = layer.conv[0] if isinstance(layer.conv, tuple) else layer.conv
    return conv.training


def _has_residual(layer: EagerLayer) -> bool:
    return not isinstance(layer.out, tuple) or layer.out[0] is not None


def _conditioning(
    parts: Sequence[nn.Module | None], gates: int, what: Literal["local", "vector"]
) -> nn.Conv1d | None:
    """The 1x1s of all layers in one."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    if len(present) != len(parts):
        raise ValueError(f"from_eager: some layers have {what} and some don't; accepted: all, none")
    found = [_convolution(part, f"{what} of a layer") for part in present]
    accepted = (gates, found[0].weight.shape[1], 1)
    for one in found:
        if (shape := tuple(one.weight.shape)) != accepted:
            raise ValueError(f"from_eager: {what} has shape {shape}; accepted is ({gates}, any, 1)")
    weight = torch.cat([one.weight for one in found])
    if all(one.bias is None for one in found):
        return _conv1x1(weight, None)
    return _conv1x1(weight, torch.cat([_or_zeros(one.bias, one.weight) for one in found]))


def _conv1x1(weight: Tensor, bias: Tensor | None) -> nn.Conv1d:
    made = nn.Conv1d(
        weight.shape[1],
        len(weight),
        weight.shape[2],
        bias=bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        made.weight.copy_(weight)
        if made.bias is not None and bias is not None:
            made.bias.copy_(bias)
    return made


def _plain(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias as `forward` uses them, whatever norms the weight is made of."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == "weight":
            weight = hook.compute_weight(module)  # the attribute is that of the last call
    if not isinstance(weight, Tensor):
        raise TypeError(
            f"from_eager: a {type(module).__name__} has no weight; accepted are convolutions, also "
            "with weight norm"
        )
    return weight.detach(), None if bias is None else bias.detach()


def _or_zeros(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias


@contextmanager
def _in_float64(module: nn.Module) -> Iterator[None]:
    """Its parameters and buffers are wide inside; modules with old weight norm can't be copied."""
    kept = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
    module.double()
    try:
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def _outputs(made: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Those that hold something: a residual that is of no use is empty."""
    outputs = made if isinstance(made, tuple) else (made,)
    return tuple(output for output in outputs if output.numel())
