"""What a backend is: the protocols that everything above the backends is written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from wavenet_kernels.call import Call, Gradients, Outputs

# How a backend may go about a call, as JSON has it; what is in it is the backend's own affair.
Configuration: TypeAlias = "Mapping[str, Any]"

# What computes more calls of operator, settings and sizes as one before, whose tensors, given and
# made, have strides and dtypes as there. Of a forward pass: from the fields of `Tensors`, those of
# `Outputs`; of a backward pass: from both, those of `Gradients` but for step.
Again: TypeAlias = "Callable[[Sequence[Tensor | None], Sequence[Tensor | None]], None]"

# What a backend says to a call that wants the gates kept, where it has no use for them.
KEEPS_INPUTS = 'keeps the inputs of layers and no gates, as keep="inputs" or "auto" asks for'


class Stream(Protocol):
    """A causal stack's weights, prepared, and the past inputs of its layers."""

    def step(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next chunk: residual (B, R, n) and skip sum (B, S, n) of x (B, R, n).

        They may be views of buffers that the next step writes to again.
        """
        ...

    def reset(self) -> None:
        """Zeros before the next chunk."""
        ...

    def state(self) -> Tensor:
        """A copy of the last (K-1) d inputs of each layer, oldest first: (B, sum of (K-1) d, R)."""
        ...

    def load_state(self, state: Tensor) -> None:
        """Go on from there."""
        ...


class Passes(Protocol):
    """Who computes an operator, forward and backward.

    Either may return what computes more such calls, where that spares preparing them once more. It
    hears whatever the pass itself would hear (environment variables, the number of threads).
    """

    def forward(self, call: Call, outputs: Outputs) -> Again | None:
        """Write the outputs that there are. Of a stack: `saved` as its `checkpoint_every` says.

        There are `gates` only on CPUs, or where `keep` is "gates".
        """
        ...

    def backward(self, call: Call, gradients: Outputs, outputs: Gradients) -> Again | None:
        """Write the gradients that there are, from those of the outputs, in any strides.

        There is one for every output that forward was asked for. Of a stack every layer's input is
        in `gradients.saved`, and checkpoint_every is 1; there are `gates` if forward had them. Of
        gated_activation x's is always asked for, and never cond's, which follows from it.
        """
        ...


class Backend(Passes, Protocol):
    """Who computes. A module of `wavenet_kernels.backends` is one.

    The operators of a `Call` that a backend sees are gated_activation, dilated_conv1d,
    gated_conv1d, residual_stack (a residual block is a stack of one layer) and
    residual_stack_stream. Calls have been checked, no dilation exceeds T (but of streams), neither
    B nor T is 0, and no tensor's negation is pending; strides are any. A layer convolves its
    input: `heard` is None.
    """

    SETTINGS: frozenset[str]
    """The fields of `Settings` that it has: no other comes at anything but its default."""

    def unavailable(self) -> str | None:
        """Why this backend can't work on this machine, or None."""
        ...

    def describe(self) -> str:
        """A line about how it works here."""
        ...

    def supports(self, call: Call) -> str | None:
        """Why it can't compute the call, forward or backward, and what would; None if it can.

        Reads metadata alone: shapes, dtypes, devices, settings; no strides, for the answer is
        remembered.
        """
        ...

    def stream(self, call: Call) -> Stream:
        """A stream of the call's weights and settings, from zeros; x is (B, R, 0), cond absent.

        What it keeps of the weights is its own: whoever calls has copied them.
        """
        ...


class Configurable(Protocol):
    """What a backend is besides, if it has more than one way to compute a call.

    `wavenet_kernels.calibration` finds out which way is the fastest that is right on a device.
    """

    def configurations(self, call: Call) -> Sequence[Configuration]:
        """A few ways beside the one that it takes by itself, the likeliest first; from metadata."""
        ...

    def configured(self, configuration: Configuration) -> AbstractContextManager[None]:
        """Inside, in this thread, calls are computed that way."""
        ...
