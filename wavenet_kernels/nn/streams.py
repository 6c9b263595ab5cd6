"""A residual stack that is fed a signal chunk by chunk and keeps its state to itself."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.call import Call, Settings, Tensors
from wavenet_kernels.forked import single_threaded_in_child
from wavenet_kernels.ops._check import check
from wavenet_kernels.ops._invoke import refuse_tensor


class StackStream:
    """The causal `residual_stack` over an endless signal, for inference.

    What `residual_stack_stream` does with a state that goes in and comes out, this does in place:
    weights are prepared once, here, and on a CPU every buffer is reused, so that steps of one
    sample are worth taking. Feeding the chunks one after another equals feeding the whole signal at
    once. One thread at a time; torch.autocast is not followed. Memory: about twice the state of
    `residual_stack_stream`, beside the weights and the packed weights. Deep copies and pickles go
    on from where the stream is, with the backend that is in force where they are made.

    Args:
        conv_weight, conv_bias, out_weight, out_bias, dilations, residual_scale: as of
            `residual_stack`; float32, float64, bfloat16 or float16. They are copied: later changes
            to the tensors change nothing here.
        batch: B, signals that are fed side by side.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        MemoryError: the dilations ask for more state than there is memory.
        BackendUnavailableError: a backend is named (`use_backend`) that has no streams.

    Example::

        stream = StackStream(*weights, dilations=dilations)
        for chunk in chunks:  # (1, R, any number)
            residual, skip = stream(chunk)
    """

    def __init__(
        self,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        out_weight: Tensor,
        out_bias: Tensor | None,
        *,
        dilations: Sequence[int],
        batch: int = 1,
        residual_scale: float = 1.0,
    ) -> None:
        batch = _integer("batch", batch)
        if batch < 1:
            raise ValueError(f"StackStream: batch is {batch}; accepted is 1 or more")
        weights = (conv_weight, conv_bias, out_weight, out_bias)
        self._prepare(stream_call("StackStream", weights, dilations, residual_scale, batch))

    def _prepare(self, call: Call) -> None:
        """Check what is streamed, copy it, and make the backend's stream of it."""
        check(call)
        backend = backends.choose(call, backends.current_backend())
        with single_threaded_in_child():
            self._call = replace(call, tensors=call.tensors.map(_copy))
            self._stream = backend.stream(self._call)
        sizes = call.sizes
        self._like, self.batch, self.channels = call.tensors.x, sizes.B, sizes.R
        self._cond_channels = len(call.settings.dilations) * 2 * sizes.D

    def __getstate__(self) -> dict[str, object]:
        """The weights, the settings and what was heard so far; buffers are made anew."""
        return {"call": self._call, "state": self._stream.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._prepare(state["call"])
        self._stream.load_state(state["state"])

    def __call__(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next chunk.

        Args:
            x: (B, R, n), n from 1, in the dtype and on the device of the weights.
            cond: (B, L*2D, n or 1), of this chunk.

        Returns:
            residual (B, R, n) and skip sum (B, S, n). They may be views of buffers that the next
            call writes to again: copy what is to be kept.

        Raises:
            TypeError, ValueError: x or cond doesn't fit the weights.
            NotImplementedError: x or cond requires a gradient, outside of torch.no_grad().
        """
        if not isinstance(x, Tensor):
            raise TypeError(
                f"StackStream: x is a {type(x).__qualname__}; accepted is a torch tensor"
            )
        if x.dim() != 3 or x.shape[:2] != (self.batch, self.channels) or x.shape[2] < 1:
            raise ValueError(
                f"StackStream: x has shape {tuple(x.shape)}; accepted is "
                f"({self.batch}, {self.channels}, n)"
            )
        if cond is not None and (
            cond.dim() != 3
            or cond.shape[:2] != (self.batch, self._cond_channels)
            or cond.shape[2] not in (1, x.shape[2])
        ):
            raise ValueError(
                f"StackStream: cond has shape {tuple(cond.shape)}; accepted is "
                f"({self.batch}, {self._cond_channels}, {x.shape[2]} or 1)"
            )
        for name, tensor in (("x", x), ("cond", cond)):
            if tensor is None:
                continue
            if tensor.dtype != self._like.dtype or tensor.device != self._like.device:
                raise TypeError(
                    f"StackStream: {name} is {tensor.dtype} on {tensor.device}, the weights are "
                    f"{self._like.dtype} on {self._like.device}; accepted is what they are"
                )
            if tensor.requires_grad and torch.is_grad_enabled():
                raise NotImplementedError(
                    f"StackStream is for inference and {name} requires a gradient; call it under "
                    "torch.no_grad(), or use residual_stack"
                )
        with single_threaded_in_child():
            return self._stream.step(x.resolve_neg(), None if cond is None else cond.resolve_neg())

    def reset(self) -> None:
        """Zeros before the next chunk: a new signal starts."""
        self._stream.reset()


def stream_call(
    name: str,
    weights: tuple[Tensor, Tensor | None, Tensor, Tensor | None],
    dilations: Sequence[int],
    residual_scale: float,
    batch: int = 1,
) -> Call:
    """A stream from nothing: its weights and settings, for the class of that name; unchecked."""
    dilations = tuple(_integer("dilations", dilation) for dilation in dilations)
    refuse_tensor(name, residual_scale)
    conv_weight = weights[0]
    if conv_weight.dim() != 4:
        raise ValueError(
            f"{name}: conv_weight has shape {tuple(conv_weight.shape)}; accepted is (L, 2D, R, K)"
        )
    nothing = conv_weight.detach().new_empty(batch, conv_weight.shape[2], 0)
    tensors = Tensors(nothing, *(None if w is None else w.detach() for w in weights))
    settings = Settings(dilations, residual_scale=float(residual_scale))
    return Call("residual_stack_stream", tensors, settings)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _integer(name: str, value: SupportsIndex) -> int:
    """Of NumPy's integers and torch's too."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"StackStream: {name} holds {value!r}; accepted are ints from 1") from None
