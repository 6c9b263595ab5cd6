"""The argument list of the operators, once: what is computed on (`Tensors`), how (`Settings`).

Every operator is seen as a stack of layers with parts missing: a gated convolution is a layer
without 1x1s, a residual block a stack of one. So weights have a leading L here, always, and a
single layer's are views with L = 1. Symbols as everywhere: B batch, T time, R residual channels, D
dilation channels, S skip channels, K taps, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from wavenet_kernels import kept
from wavenet_kernels.rows import Rows, address_of, empty_rows, rows_of

Padding: TypeAlias = Literal["causal", "same"]
Keep: TypeAlias = Literal["auto", "inputs", "gates"]


def is_wide(residual: int, taps: int) -> bool:
    """Whether a CPU keeps what goes into the gates however much that is: K R terms a sum.

    Of 64 terms, nothing is gained by keeping it over computing it again; of 128, a twentieth of a
    step, of 384 a fifth (benchmarks/NOTES.md).
    """
    return residual * taps >= 256


def gates_are_worth_keeping(
    residual: int, dilation: int, taps: int, layers: int, positions: int, bytes_of_float: int
) -> bool:
    """Whether a CPU keeps what goes into the gates; a twentieth of a step is worth 256 MiB at most.

    Args:
        residual, dilation, taps, layers: R, D, K and L.
        positions: B T.
        bytes_of_float: of an activation.
    """
    size = 2 * dilation * layers * positions * bytes_of_float
    few = residual * taps >= 128 and size <= 256 << 20
    return is_wide(residual, taps) or few


@dataclass(frozen=True, slots=True)
class Tensors:
    """What an operator computes on."""

    x: Tensor  # (B, R, T); of gated_activation the pre-activation (B, 2D, T)
    conv_weight: Tensor | None = None  # (L, 2D, R, K); of dilated_conv1d (1, C, R, K)
    conv_bias: Tensor | None = None  # (L, 2D)
    out_weight: Tensor | None = None  # (L, R+S, D)
    out_bias: Tensor | None = None  # (L, R+S)
    cond: Tensor | None = None  # (B, L*2D, T or 1)

    def weights(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """conv_weight, conv_bias, out_weight, out_bias."""
        return self.conv_weight, self.conv_bias, self.out_weight, self.out_bias

    def map(self, function: Callable[[Tensor], Tensor]) -> Tensors:
        """The same with the function of every tensor that there is."""

        def of(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else function(tensor)

        conv_weight, conv_bias, out_weight, out_bias = map(of, self.weights())
        x, cond = function(self.x), of(self.cond)
        return Tensors(x, conv_weight, conv_bias, out_weight, out_bias, cond)

    def for_kernels(self) -> dict[str, Rows | int]:
        """As a compiled module takes them, by name: signals as rows, weights as addresses."""
        return {
            "x": rows_of(self.x),
            "conv_weight": address_of(self.conv_weight),
            "conv_bias": address_of(self.conv_bias),
            "out_weight": address_of(self.out_weight),
            "out_bias": address_of(self.out_bias),
            "cond": rows_of(self.cond),
        }


@dataclass(frozen=True, slots=True)
class Heard:
    """What layers convolve where it isn't what they pass on: x * kept / (1 - dropout) + step."""

    step: Tensor | None = None  # (B, L*R, T or 1)
    kept: Tensor | None = None  # (L, B, R, T), bool: what dropout leaves; None: all of it
    dropout: float = 0.0  # the probability that something isn't kept

    def layers(self, first: int, last: int, channels: int) -> Heard:
        """That of a stack's layers first .. last-1, of as many channels of step each."""
        step, kept = self.step, self.kept
        if step is not None:
            step = step[:, first * channels : last * channels]
        return Heard(step, None if kept is None else kept[first:last], self.dropout)


@dataclass(slots=True)
class Gradients:
    """Gradients of `Tensors`, field by field, in their shapes and dtypes; None: not wanted.

    Activations' (x, cond, and step, which is of `Heard`) are in the memory order of rows, weights'
    are contiguous.
    """

    x: Tensor | None = None
    conv_weight: Tensor | None = None
    conv_bias: Tensor | None = None
    out_weight: Tensor | None = None
    out_bias: Tensor | None = None
    cond: Tensor | None = None
    step: Tensor | None = None

    def weights(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """conv_weight, conv_bias, out_weight, out_bias."""
        return self.conv_weight, self.conv_bias, self.out_weight, self.out_bias

    def layers(self, first: int, last: int, sizes: Sizes) -> Gradients:
        """Those of the layers first .. last-1 of a stack of these sizes; same x."""
        conv_weight, conv_bias, out_weight, out_bias = (
            None if weight is None else weight[first:last] for weight in self.weights()
        )
        cond, step = self.cond, self.step
        if cond is not None:
            cond = cond[:, first * 2 * sizes.D : last * 2 * sizes.D]
        if step is not None:
            step = step[:, first * sizes.R : last * sizes.R]
        return Gradients(self.x, conv_weight, conv_bias, out_weight, out_bias, cond, step)


@dataclass(slots=True)
class Outputs:
    """What an operator computes, or the gradients of it; None: there is none, or nobody wants it.

    Activations are in the memory order of rows. `saved` is what a backward on any backend goes on
    from: the inputs of layers n, 2n, ... for n = checkpoint_every, contiguous. With `gates`, what
    goes into every layer's gates with the conditioning added, it need not compute that again.
    """

    y: Tensor | None = None  # of an operator with a single output
    residual: Tensor | None = None  # (B, R, T)
    skip: Tensor | None = None  # (B, S, T), the sum over layers
    saved: Tensor | None = None  # (inputs, B, T, R)
    gates: Tensor | None = None  # (L, B, T, 2D), contiguous

    def astuple(self) -> tuple[Tensor | None, ...]:
        """The fields in order."""
        return self.y, self.residual, self.skip, self.saved, self.gates

    def present(self) -> Outputs:
        """None in place of what has no channels."""
        residual, skip = self.residual, self.skip
        if residual is not None and residual.shape[1] == 0:
            residual = None
        if skip is not None and skip.shape[1] == 0:
            skip = None
        gates = self.gates if self.gates is not None and len(self.gates) else None
        return Outputs(self.y, residual, skip, self.saved, gates)


@dataclass(frozen=True, slots=True)
class Settings:
    """How an operator computes."""

    dilations: tuple[int, ...] = ()
    padding: Padding = "causal"
    residual_scale: float = 1.0
    last_residual: bool = True
    checkpoint_every: int = 1
    keep: Keep = "auto"

    def is_default(self, name: str) -> bool:
        """Whether the setting is what it is where nobody says otherwise."""
        return bool(getattr(self, name) == Settings.__dataclass_fields__[name].default)


SETTINGS = frozenset(field.name for field in fields(Settings))
# What every backend has. A new setting isn't here but in the `SETTINGS` of the backends that do.
COMMON_SETTINGS = frozenset(
    ("dilations", "padding", "residual_scale", "last_residual", "checkpoint_every", "keep")
)


class Sizes(NamedTuple):
    """B, T, R, D, S and K of a call; 0 where an operator has none, as dilated_conv1d no gates."""

    B: int
    T: int
    R: int
    D: int
    S: int
    K: int


# An argument of an operator, where its name isn't that of a field.
_FIELDS = {"a": "x", "weight": "conv_weight", "bias": "conv_bias", "dilation": "dilations"}
_WEIGHTS = ("conv_weight", "conv_bias", "out_weight", "out_bias")
STACKS = ("residual_stack", "residual_stack_stream")  # whose arguments have a leading L
_large_in_blocks = partial(kept.empty, least=64 << 20)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator and what it was called with."""

    operator: str
    tensors: Tensors
    settings: Settings
    state: Tensor | None = None  # of residual_stack_stream: (B, sum of (K-1) d, R)
    heard: Heard | None = None  # of residual_block and residual_stack; None: layers convolve x

    @classmethod
    def of(cls, operator: str, arguments: Mapping[str, Any]) -> Call:
        """The call with these arguments, by the names that the public function has for them."""
        tensors: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        heard: dict[str, Any] = {}
        single = operator not in STACKS
        for name, value in arguments.items():
            field = _FIELDS.get(name, name)
            if single and value is not None and field in _WEIGHTS:
                value = value.unsqueeze(0)
            if field in TENSORS:
                tensors[field] = value
            elif field in HEARD:
                heard[field] = value
            elif field != "state":
                if field == "dilations":
                    value = (value,) if single else tuple(value)
                settings[field] = value
        if heard.get("step") is None and heard.get("kept") is None:
            heard = {}
        return cls(
            operator,
            Tensors(**tensors),
            Settings(**settings),
            arguments.get("state"),
            Heard(**heard) if heard else None,
        )

    @property
    def sizes(self) -> Sizes:
        """From the shapes, for a call that has been checked."""
        tensors = self.tensors
        batch, channels, time = tensors.x.shape
        if tensors.conv_weight is None:
            return Sizes(batch, time, 0, channels // 2, 0, 0)
        _, gated, _, taps = tensors.conv_weight.shape
        gates = 0 if self.operator == "dilated_conv1d" else gated // 2
        out = tensors.out_weight
        skip = 0 if out is None else out.shape[1] - channels
        return Sizes(batch, time, channels, gates, skip, taps)

    @property
    def left(self) -> tuple[int, ...]:
        """Rows of zeros before row 0, layer by layer."""
        sizes, settings = self.sizes, self.settings
        halves = 1 if settings.padding == "causal" else 2
        return tuple((sizes.K - 1) * dilation // halves for dilation in settings.dilations)

    @property
    def saves(self) -> int:
        """How many layers' inputs a backward goes on from, beside x."""
        settings = self.settings
        every = settings.checkpoint_every
        return len(range(every, len(settings.dilations), every))

    @property
    def keeps_gates(self) -> bool:
        """Whether a forward pass keeps what goes into the gates for the backward pass.

        "auto" does so on CPUs for wide layers: 2D values a position and layer beside the R of the
        input, where eager PyTorch keeps 3D (tanh, sigmoid and their product). Of how many positions
        is not asked here, where it may be any number.
        """
        settings, x = self.settings, self.tensors.x
        if settings.keep != "auto":
            return settings.keep == "gates"
        return (
            self.operator == "residual_stack"
            and x.device.type == "cpu"
            and settings.checkpoint_every == 1
            and is_wide(self.sizes.R, self.sizes.K)
        )

    def as_stack(self) -> Call:
        """A residual block as the stack of one layer that it is; any other call as it is."""
        if self.operator != "residual_block":
            return self
        return replace(self, operator="residual_stack")

    def within_time(self) -> Call:
        """With dilations of at most T.

        A tap T steps away is outside the signal for every output, as one further away is; but no
        backend has to pad for a halo that is longer than any signal.
        """
        time = self.tensors.x.shape[2]
        dilations = self.settings.dilations
        if max(dilations, default=0) <= time:
            return self
        settings = replace(self.settings, dilations=tuple(min(d, time) for d in dilations))
        return replace(self, settings=settings)

    def resolved(self) -> Call:
        """With no tensor whose negation is still pending: its memory is what it is worth."""
        for tensor in astuple(self.tensors):
            if tensor is not None and tensor.is_neg():
                return replace(self, tensors=self.tensors.map(torch.Tensor.resolve_neg))
        return self

    def layers(self, first: int, last: int, x: Tensor, *, last_residual: bool) -> Call:
        """A stack's layers first .. last-1, whose input is x, with nothing to checkpoint."""
        tensors, channels = self.tensors, 2 * self.sizes.D
        conv_weight, conv_bias, out_weight, out_bias = (
            None if weight is None else weight[first:last] for weight in tensors.weights()
        )
        cond = tensors.cond
        if cond is not None:
            cond = cond[:, first * channels : last * channels]
        part = Tensors(x, conv_weight, conv_bias, out_weight, out_bias, cond)
        settings = replace(
            self.settings,
            dilations=self.settings.dilations[first:last],
            last_residual=last_residual,
            checkpoint_every=1,
            keep="inputs",
        )
        heard = self.heard
        if heard is not None:
            heard = heard.layers(first, last, self.sizes.R)
        return Call(self.operator, part, settings, heard=heard)

    def empty_outputs(self, *, saving: bool = False) -> Outputs:
        """Room for what the operator returns; `saving`: and for what its backward needs."""
        x, cond, settings = self.tensors.x, self.tensors.cond, self.settings
        batch, time, residual, gates, skip, _ = self.sizes
        # Large ones of training in blocks: of small ones, more would be free than is gained.
        # Weights are not asked: in inference they require gradients too, their views never do.
        training = saving or x.requires_grad or (cond is not None and cond.requires_grad)
        empty = _large_in_blocks if training else Tensor.new_empty_strided
        if self.tensors.out_weight is None:
            weight = self.tensors.conv_weight
            channels = gates or (0 if weight is None else weight.shape[1])
            return Outputs(y=empty_rows(x, batch, channels, time, empty))
        return Outputs(
            residual=empty_rows(x, batch, residual if settings.last_residual else 0, time, empty),
            skip=empty_rows(x, batch, skip, time, empty),
            saved=kept.empty(x, (self.saves, batch, time, residual)) if saving else None,
            gates=self._empty_gates() if saving else None,
        )

    def _empty_gates(self) -> Tensor:
        """Of no layer where they are not kept."""
        x, sizes = self.tensors.x, self.sizes
        layers = len(self.settings.dilations) if self.keeps_gates else 0
        return kept.empty(x, (layers, sizes.B, sizes.T, 2 * sizes.D))

    def empty_gradients(self, wanted: Sequence[bool]) -> Gradients:
        """Room for the gradients of the fields of `Tensors`, and of step, that are wanted."""
        made: list[Tensor | None] = []
        step = None if self.heard is None else self.heard.step
        tensors = (*astuple(self.tensors), step)
        for name, tensor, needed in zip(GRADIENTS, tensors, wanted, strict=False):
            if tensor is None or not needed:
                made.append(None)
            elif name in _WEIGHTS:
                made.append(tensor.new_empty(tensor.shape))
            else:
                batch, channels, time = tensor.shape
                made.append(empty_rows(tensor, batch, channels, time, kept.empty))
        return Gradients(*made)

    def as_stream_from_nothing(self) -> Call:
        """A stream's weights and settings, without a chunk or a state."""
        return replace(self, state=None).with_chunk(self.tensors.x[:, :, :0], None)

    def with_chunk(self, x: Tensor, cond: Tensor | None) -> Call:
        """The same of another x and its conditioning."""
        return replace(self, tensors=replace(self.tensors, x=x, cond=cond))


def field_of(argument: str) -> str:
    """The field of `Tensors` or `Settings` that an operator's argument is."""
    return _FIELDS.get(argument, argument)


def astuple(record: Tensors | Gradients) -> tuple[Tensor | None, ...]:
    """The fields in order; not copied, as those of `dataclasses.astuple` are."""
    return (record.x, *record.weights(), record.cond)


TENSORS = tuple(field.name for field in fields(Tensors))
HEARD = tuple(field.name for field in fields(Heard))
GRADIENTS = (*TENSORS, "step")
