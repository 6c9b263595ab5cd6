"""A residual stack in 8 bits, fed a signal chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.nn.streams import stream_call
from wavenet_kernels.ops._check import check
from wavenet_kernels.quantization import quantize_weights


class QuantizedStackStream:
    """The skip sum of a causal `residual_stack` over an endless signal, in int8 on a CPU.

    Weights are rounded once, here (`wavenet_kernels.quantization`), with a scale for each output;
    inputs and gated activations as they come, with a scale for each time, which needs no
    calibration. Sums are exact in 32 bits; scales, biases, gates, residual and skip sum are
    float32. Feeding chunks one after another equals feeding the whole signal at once, bit by bit.
    One signal, one thread.

    Args:
        conv_weight, conv_bias, out_weight, out_bias, dilations, residual_scale: as of
            `residual_stack`, float32 on a CPU. They are copied.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes that don't fit, by argument.
        BackendUnavailableError: the compiled module for CPUs can't be loaded.

    Example::

        stream = QuantizedStackStream(*weights, dilations=dilations)
        for chunk in chunks:  # float32 (1, R, any number)
            skip = stream(chunk)
    """

    def __init__(
        self,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        out_weight: Tensor,
        out_bias: Tensor | None,
        *,
        dilations: Sequence[int],
        residual_scale: float = 1.0,
    ) -> None:
        cpu: Any = backends.load("cpu")
        if reason := cpu.unavailable():
            raise BackendUnavailableError(f"QuantizedStackStream runs on the cpu backend: {reason}")
        weights = (conv_weight, conv_bias, out_weight, out_bias)
        call = stream_call("QuantizedStackStream", weights, dilations, residual_scale)
        check(call)
        if conv_weight.dtype != torch.float32 or conv_weight.device.type != "cpu":
            raise TypeError(
                f"QuantizedStackStream: conv_weight is {conv_weight.dtype} on "
                f"{conv_weight.device}; accepted is float32 on a CPU"
            )
        self._stream = cpu.QuantizedStream(
            quantize_weights(conv_weight, outputs=2),
            conv_bias,
            quantize_weights(out_weight, outputs=2),
            out_bias,
            call.settings.dilations,
            call.settings.residual_scale,
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The next chunk: float32 (1, R, n), n from 1 -> the skip sum (1, S, n).

        Raises:
            TypeError, ValueError: another dtype, device or shape.
        """
        channels = self._stream.residual_channels
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise TypeError(
                f"QuantizedStackStream: x is {x.dtype} on {x.device}; accepted is float32 on a CPU"
            )
        if x.dim() != 3 or x.shape[:2] != (1, channels) or x.shape[2] < 1:
            raise ValueError(
                f"QuantizedStackStream: x has shape {tuple(x.shape)}; accepted is "
                f"(1, {channels}, n)"
            )
        skip: Tensor = self._stream.step(x)
        return skip

    def reset(self) -> None:
        """Zeros before the next chunk: a new signal starts."""
        self._stream.reset()
