"""A generative WaveNet as a file for the C library of csrc/runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from wavenet.errors import DataError
from wavenet.generation.conditioning import Speaker
from wavenet.generation.model import WaveNet
from wavenet.generation.samples import decode
from wavenet.packed import Array, numbers, packed, text
from wavenet_kernels.sampling.network import DRAWS


@torch.no_grad()
def generator_file(model: WaveNet, speaker: Speaker | None = None) -> bytes:
    """The content of a model.wavenet that generates what `WaveNet.generate` does, bit by bit.

    Args:
        model: a WaveNet; it is put on the CPU.
        speaker: whom the file speaks as, where the model has speakers.

    Raises:
        DataError: a model that is conditioned on frames, or whose sound is finished by more than a
            table of codes and a gain.
        ValueError: a speaker that the model does not have, or none where it has some.
    """
    config = model.config
    if config.frame_channels:
        kind = "mel-spectrograms" if config.mel else "notes"
        raise DataError(f"the model is conditioned on {kind}; accepted are those without")
    if config.pre_emphasis:
        raise DataError(f"pre_emphasis is {config.pre_emphasis}; accepted is 0")
    if config.companding != "none" and config.distribution != "softmax":
        raise DataError(f"companding of samples is {config.companding}; accepted is none")
    model = model.cpu()
    network = model.sample_network(torch.float32)
    ids = model.conditioning.prepare_speaker(speaker, 1, torch.device("cpu"))
    if ids is not None:  # the same for all samples, as biases are
        said = model.conditioning.each_speaker_of(ids).float().view(len(network.dilations), -1)
        bias = network.conv_bias
        network = replace(network, conv_bias=said if bias is None else bias + said)
    arrays: dict[str, Array] = {
        "kind": text("generator"),
        "sample_rate": numbers(np.float64, config.sample_rate),
        "gain": numbers(np.float64, config.gain),
        "draw": numbers(np.int64, DRAWS.index(network.draw)),
        "dilations": numbers(np.int64, *network.dilations),
        "first": numbers(np.float64, network.first),
        "residual_scale": numbers(np.float64, network.residual_scale),
        "skip_scale": numbers(np.float64, network.skip_scale),
        "input_tanh": numbers(np.int64, network.input_tanh),
    }
    if network.scale_floor is not None:
        arrays["scale_floor"] = numbers(np.float64, network.scale_floor)
    _, gates, residual, taps = network.conv_weight.shape
    for name, size in {
        "codes": network.codes,
        "taps": network.taps,
        "residual_channels": residual,
        "dilation_channels": gates // 2,
        "skip_channels": network.hidden_weight.shape[1],
        "kernel_size": taps,
        "head_channels": network.hidden_weight.shape[0],
        "parameters": network.parameters,
    }.items():
        arrays[name] = numbers(np.int64, size)
    for name, tensor in network.tensors.items():
        part, _, what = name.rpartition("_")
        where = f"stack.{name}" if part in ("conv", "out") else f"{part}.{what}"
        arrays[where] = tensor.contiguous().numpy()
    if network.codes:
        arrays["values"] = decode(torch.arange(network.codes), config).float().numpy()
    return packed(arrays)
