"""A generative WaveNet as a file for the C library of csrc/runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from wavenet.generation.conditioning import Conditioning, Speaker
from wavenet.generation.model import WaveNet
from wavenet.generation.samples import decode
from wavenet.packed import Array, numbers, packed, text
from wavenet_kernels.sampling.network import DRAWS


@torch.no_grad()
def generator_file(model: WaveNet, speaker: Speaker | None = None) -> bytes:
    """The content of a model.wavenet that generates what `WaveNet.generate` does.

    On the same instruction set that is the same bit by bit, but to rounding where the model is
    conditioned on frames or its samples are companded.

    Args:
        model: a WaveNet; it is put on the CPU.
        speaker: whom the file speaks as, where the model has speakers.

    Raises:
        ValueError: a speaker that the model does not have, or none where it has some.
    """
    config = model.config
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
    if config.pre_emphasis:
        arrays["pre_emphasis"] = numbers(np.float64, config.pre_emphasis)
    if config.companding != "none" and config.distribution != "softmax":
        assert config.mu is not None
        arrays["companding"] = numbers(np.float64, config.mu)
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
    if config.frame_channels:
        arrays |= _conditioning(model.conditioning)
    return packed(arrays)


def _conditioning(conditioning: Conditioning) -> dict[str, Array]:
    """What csrc/runtime/conditioning.h is made of: upsampling as sums of neighbouring frames."""
    config, upsample, gates = conditioning.config, conditioning.upsample, conditioning.local
    assert upsample is not None and gates is not None
    before, after = upsample.halo
    arrays: dict[str, Array] = {
        "channels": numbers(np.int64, config.frame_channels),
        "hop": numbers(np.int64, config.hop),
        "context": numbers(np.int64, config.context_frames),
        "before": numbers(np.int64, before),
        "after": numbers(np.int64, after),
        "gates": gates.weight.float().numpy(),
    }
    if conditioning.frames is not None:
        arrays["frames"] = conditioning.frames.weight.float().numpy()
    if upsample.kind == "deconvolution":
        weight = upsample.weights[0].float()
        arrays["deconvolution.weight"] = _over_frames(weight, config.hop).numpy()
        arrays["deconvolution.bias"] = upsample.biases[0].float().repeat(config.hop).numpy()
    elif upsample.kind != "repeat":
        slopes = {"none": 1.0, "relu": 0.0, "leaky_relu": upsample.slope}
        arrays["scales"] = numbers(np.int64, *upsample.scales)
        arrays["channel_taps"] = numbers(np.int64, upsample.weights[0].shape[2])
        arrays["slope"] = numbers(np.float64, slopes[upsample.activation])
        for stage, scale in enumerate(upsample.scales):
            weight = upsample.weights[stage].float()[0, 0]
            bias = upsample.biases[stage].float() if len(upsample.biases) else torch.zeros(1)
            factors = _of_frames(weight, scale, upsample.kind == "transposed")
            arrays[f"stages.{stage}.weight"] = factors.numpy()
            arrays[f"stages.{stage}.bias"] = bias.numpy()
    return {f"conditioning.{name}": array for name, array in arrays.items()}


def _of_frames(taps: Tensor, scale: int, transposed: bool) -> Tensor:
    """A stage's taps as factors of the frame before, itself and the one after: (n, 3, scale).

    Args:
        taps: (n, 2 scale + 1) over repeated frames, or transposed, (n, scale).
    """
    made = taps.new_zeros(len(taps), 3, scale)
    if transposed:
        made[:, 1] = taps.flip(0)
        return made
    for step in range(scale):
        for tap in range(2 * scale + 1):
            made[:, (step - scale + tap) // scale + 1, step] += taps[:, tap]
    return made


def _over_frames(weight: Tensor, hop: int) -> Tensor:
    """A transposed convolution (M, M', taps) as one over frames: (hop M', M, frames)."""
    channels, outputs, taps = weight.shape
    frames = (taps - 1) // hop + 1
    padded = torch.nn.functional.pad(weight, (0, frames * hop - taps))
    latest_first = padded.view(channels, outputs, frames, hop)
    return latest_first.flip(2).permute(3, 1, 0, 2).reshape(hop * outputs, channels, frames)
