"""A residual stack that is fed a signal chunk by chunk and keeps its state to itself."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.ops._check import check_convolution, check_stack


class StackStream:
    """The causal `residual_stack` over an endless signal, for inference.

    What `residual_stack_stream` does with a state that goes in and comes out, this does in place:
    weights are prepared once, here, and on a CPU every buffer is reused, so that steps of one
    sample are worth taking. Feeding the chunks one after another equals feeding the whole signal at
    once. One thread at a time; torch.autocast is not followed. Memory: about twice the state of
    `residual_stack_stream`, beside the packed weights.

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
        dilations = [_integer("dilations", dilation) for dilation in dilations]
        if batch < 1:
            raise ValueError(f"StackStream: batch is {batch}; accepted is 1 or more")
        if conv_weight.dim() != 4:
            raise ValueError(
                f"StackStream: conv_weight has shape {tuple(conv_weight.shape)}; accepted is "
                "(L, 2D, R, K)"
            )
        conv_weight, out_weight = conv_weight.detach(), out_weight.detach()
        conv_bias = None if conv_bias is None else conv_bias.detach()
        out_bias = None if out_bias is None else out_bias.detach()
        weights = (conv_weight, conv_bias, out_weight, out_bias)
        self._like = conv_weight.new_empty(0)
        self.batch, self.channels = batch, conv_weight.shape[2]
        self._cond_channels = conv_weight.shape[0] * conv_weight.shape[1]
        nothing = self._like.new_empty(batch, self.channels, 0)
        check_stack("StackStream", nothing, *weights, None, dilations)
        check_convolution("StackStream", conv_weight.shape[3], dilations, "causal")
        self._stream = backends.run(
            "stack_stream",
            backends.current_backend(),
            *weights,
            list(dilations),
            float(residual_scale),
            batch,
        )

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
        residual, skip = self._stream.step(x, cond)
        return residual, skip

    def reset(self) -> None:
        """Zeros before the next chunk: a new signal starts."""
        self._stream.reset()


def _integer(name: str, value: SupportsIndex) -> int:
    """Of NumPy's integers and torch's too."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"StackStream: {name} holds {value!r}; accepted are ints from 1") from None
