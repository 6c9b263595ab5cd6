"""Residual layers alone, and amplifiers, as files for the C library of csrc/runtime."""

from __future__ import annotations

import numpy as np
import torch

from wavenet.errors import DataError
from wavenet.networks.amplifier import Amplifier
from wavenet.packed import Array, numbers, packed, text
from wavenet_kernels.nn import ResidualStack
from wavenet_kernels.quantization import quantize_weights


@torch.no_grad()
def stack_file(stack: ResidualStack, weights: str = "float32") -> bytes:
    """The content of a model.wavenet for wavenet_stack_create: the causal stack's skip sum.

    Args:
        stack: causal, with a skip.
        weights: "float32", for the bits of `StackStream` with the same chunks, on the same
            instruction set, or "int8", for those of `QuantizedStackStream`.

    Raises:
        DataError: another stack or other weights.
    """
    if weights not in ("float32", "int8"):
        raise DataError(f"weights is {weights!r}; accepted of a stack are float32 and int8")
    layers, gates, residual, taps = stack.conv_weight.shape
    skip = stack.out_weight.shape[1] - residual
    if stack.padding != "causal" or skip == 0:
        raise DataError(
            f"the stack has padding {stack.padding!r} and {skip} skip channels; accepted is a "
            "causal one with a skip"
        )
    arrays: dict[str, Array] = {
        "kind": text("stack"),
        "residual_channels": numbers(np.int64, residual),
        "dilation_channels": numbers(np.int64, gates // 2),
        "skip_channels": numbers(np.int64, skip),
        "kernel_size": numbers(np.int64, taps),
        "dilations": numbers(np.int64, *stack.dilations),
        "residual_scale": numbers(np.float64, stack.residual_scale),
    }
    for name in ("conv_weight", "out_weight", "conv_bias", "out_bias"):
        tensor = getattr(stack, name)
        if tensor is None:
            continue
        if weights == "int8" and name.endswith("weight"):
            rounded, scales = quantize_weights(tensor.cpu(), outputs=2)
            arrays |= {
                f"stack.{name}": rounded.numpy(),
                f"stack.{name}.scale": scales.numpy(),
            }
        else:
            arrays[f"stack.{name}"] = tensor.detach().float().cpu().contiguous().numpy()
    return packed(arrays)


@torch.no_grad()
def amplifier_file(model: Amplifier) -> bytes:
    """The content of a model.wavenet for wavenet_stack_create: rows of one sample, in and out.

    What it plays is what the model makes of a signal, in float32.
    """
    config = model.config
    arrays: dict[str, Array] = {
        "kind": text("amplifier"),
        "sample_rate": numbers(np.float64, config.sample_rate),
        "scale": numbers(np.float64, config.scale),
        "arrays": numbers(np.int64, len(config.arrays)),
    }
    for number, (sizes, layers) in enumerate(zip(config.arrays, model.arrays, strict=True)):
        of_layers: dict[str, Array] = {
            "channels": numbers(np.int64, sizes.channels),
            "kernel_size": numbers(np.int64, sizes.kernel_size),
            "gated": numbers(np.int64, sizes.gated),
            "dilations": numbers(np.int64, *sizes.dilations),
        }
        for name, tensor in layers.named_parameters():
            of_layers[name] = tensor.detach().float().cpu().contiguous().numpy()
        arrays |= {f"arrays.{number}.{name}": array for name, array in of_layers.items()}
    return packed(arrays)
