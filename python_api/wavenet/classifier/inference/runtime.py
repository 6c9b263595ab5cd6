"""A classifier as a file for the C library of csrc/runtime, which needs no Python and no torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wavenet.audio.effects import SILENCE
from wavenet.classifier.inference.weights import (
    folded,
    in_bfloat16,
    in_int8,
    quantized,
    require_weights,
)
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import DataError
from wavenet.networks.architecture import INPUTS, POOLINGS
from wavenet.networks.clip_norm import FLAT_VARIANCE, LEVEL
from wavenet.networks.filterbank import FLOOR, OFFSET, SCALE
from wavenet.networks.stem import FilterbankStem
from wavenet.packed import Array, numbers, packed, text


def runtime_file(model: WaveNetClassifier, weights: str = "float32") -> bytes:
    """The content of a model.wavenet: what the model is, and its weights.

    Args:
        model: a classifier.
        weights: one of `WEIGHTS`. "bfloat16": half the bytes; "int8": a quarter of them for the
            stack and the head, which are computed in 8 bits then, the rest in float32.

    Raises:
        DataError: other weights, or a model whose labels are tags, which the C library does not
            have.
    """
    require_weights(weights)
    model = folded(model)
    config = model.config
    if config.tags:
        raise DataError(
            "format runtime: the model's labels are tags; the C library accepts models of one "
            "label a clip"
        )
    arrays: dict[str, Array] = {
        "kind": text("classifier"),
        "labels": text(*config.labels),
        "sample_rate": numbers(np.float64, config.sample_rate),
        "input": numbers(np.int64, INPUTS.index(config.input)),
        "pooling": numbers(np.int64, POOLINGS.index(config.pooling)),
        "dilations": numbers(np.int64, *config.dilations),
        "residual_scale": numbers(np.float64, model.stack.residual_scale),
    }
    for name in (
        "residual_channels",
        "dilation_channels",
        "skip_channels",
        "kernel_size",
        "stem_kernel_size",
        "stem_stride",
        "steps_per_frame",
        "head_layers",
        "head_channels",
        "head_kernel_size",
    ):
        arrays[name] = numbers(np.int64, getattr(config, name))
    if config.clip_norm:
        constants = {"level": LEVEL, "silence": SILENCE, "flat_variance": FLAT_VARIANCE}
        arrays |= {
            f"clip_norm.{name}": numbers(np.float64, value) for name, value in constants.items()
        }
    tensors = {name: weight.detach().float().cpu() for name, weight in model.state_dict().items()}
    if isinstance(model.stem, FilterbankStem):
        arrays |= _filterbank(model.stem, tensors)
    for name, weight in tensors.items():
        if not name.startswith("next_sample."):  # for training only
            arrays |= _weight(name.replace("stem.conv.", "stem."), weight, weights)
    return packed(arrays)


@torch.no_grad()
def _filterbank(stem: FilterbankStem, tensors: dict[str, Tensor]) -> dict[str, Array]:
    """Its sizes. Of the tensors, those of the stem become what csrc/runtime/filterbank.h takes."""
    bands, layers = stem.bands, len(stem.layers)
    arrays = {
        "filters": numbers(np.int64, len(bands.gain)),
        "filter_layers": numbers(np.int64, layers // stem.of_group),
        "filter_blocks": numbers(np.int64, stem.of_group // 2),
        "stem.floor": numbers(np.float64, FLOOR),
    }
    for name in [name for name in tensors if name.startswith("stem.bands.")]:
        del tensors[name]
    tensors["stem.filters"] = bands.filters().float().cpu()
    tensors["stem.gain"] = (SCALE * bands.gain.exp()).flatten().cpu()
    tensors["stem.offset"] = (OFFSET + bands.bias).flatten().cpu()
    channels = 1
    for i in range(layers):
        name = f"stem.layers.{i}"
        weight = tensors[f"{name}.weight"]  # (outputs, channels, bands, times)
        channels = len(weight)
        arrays[f"{name}.channels"] = numbers(np.int64, channels)
        tensors[f"{name}.weight"] = weight.permute(0, 2, 3, 1).contiguous()
    mix = tensors["stem.mix.weight"]  # (R, channels * bands, 1)
    tensors["stem.mix.weight"] = mix.unflatten(1, (channels, -1)).transpose(1, 2).contiguous()
    return arrays


def _weight(name: str, weight: Tensor, weights: str) -> dict[str, Array]:
    if weights == "int8" and in_int8(name):
        rounded, scales = quantized(name, weight)
        return {name: rounded.numpy(), f"{name}.scale": scales.numpy()}
    if weights == "bfloat16" and in_bfloat16(name, weight):
        return {name: weight.bfloat16().view(torch.uint16).numpy()}
    return {name: weight.numpy()}
