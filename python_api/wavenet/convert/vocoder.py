"""wavenet_vocoder's checkpoints, of both its layouts, into our model, and back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavenet.convert.hparams import ACTIVATIONS, PRE_EMPHASIS, Reading, Tensors, config_of
from wavenet.convert.state_dicts import split_weight_norm
from wavenet.convert.weights import Weights, take_weights
from wavenet.errors import ModelError
from wavenet.files import replace_file, replacing
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.model import WaveNet

_THEIR_ACTIVATIONS = {ours: theirs for theirs, ours in ACTIVATIONS.items()}


def is_vocoder(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are wavenet_vocoder's."""
    return "first_conv.weight" in weights and "conv_layers.0.conv1x1_out.weight" in weights


def from_vocoder(weights: Mapping[str, Tensor], hparams: dict[str, Any]) -> tuple[WaveNet, Reading]:
    """A model with the weights (folded, float64), and what had to be assumed.

    Raises:
        ModelError: hparams that are missing or contradicted, weights that are missing or unknown.
    """
    tensors = _shapes(weights, hparams)
    reading = Reading(hparams)
    config = config_of(reading, tensors)
    model = WaveNet(config).double()
    take_weights(model, _our_weights(Weights(weights), tensors, config, hparams))
    return model, reading


def _shapes(weights: Mapping[str, Tensor], hparams: Mapping[str, Any]) -> Tensors:
    def size(name: str, dimension: int) -> int:
        return weights[name].shape[dimension] if name in weights else 0

    try:
        layer = "conv_layers.0"
        first_generation = _is_first(weights, hparams)
        tensors = Tensors(
            first=first_generation,
            layers=sum(name.endswith(".conv1x1_out.weight") for name in weights),
            residual=size("first_conv.weight", 0),
            gates=size(f"{layer}.conv.weight", 0),
            kernel_size=size(f"{layer}.conv.weight", 2),
            skip=size(f"{layer}.conv1x1_skip.weight", 0),
            head=size("last_conv_layers.1.weight", 0),
            inputs=size("first_conv.weight", 1),
            outputs=size("last_conv_layers.3.weight", 0),
            mels=size(f"{layer}.conv1x1c.weight", 1),
            speaker_channels=size(f"{layer}.conv1x1g.weight", 1),
            speakers=size("embed_speakers.weight", 0),
            convolution_taps=size("upsample_net.conv_in.weight", 2),
        )
    except IndexError as error:
        raise ModelError(
            f"has weights of other dimensions than wavenet_vocoder's: {error}"
        ) from None
    stages = [
        value
        for name, value in sorted(weights.items(), key=lambda item: _number(item[0]))
        if name.endswith(".weight") and ("up_layers." in name or name.startswith("upsample_conv."))
    ]
    tensors.scales = tuple(
        stage.shape[3] if first_generation else stage.shape[3] // 2 for stage in stages
    )
    tensors.frequency_taps = stages[0].shape[2] if stages else 1
    return tensors


# Of the first generation's hparams alone; the newest has the latter inside of upsample_params.
_FIRST_HPARAMS = ("legacy", "weight_normalization", "upsample_scales", "freq_axis_kernel_size")


def _is_first(weights: Mapping[str, Tensor], hparams: Mapping[str, Any]) -> bool:
    """Whether it is v0.1.1's: its conditioning has biases. Without any the hparams tell."""
    if "upsample_conv.0.weight" in weights:
        return True
    conditioning = [f"conv_layers.0.conv1x1{kind}" for kind in "cg"]
    if any(f"{name}.weight" in weights for name in conditioning):
        return any(f"{name}.bias" in weights for name in conditioning)
    return any(name in hparams for name in _FIRST_HPARAMS)


def _number(name: str) -> int:
    parts = [part for part in name.split(".") if part.isdecimal()]
    return int(parts[-1]) if parts else -1


def _our_weights(
    weights: Weights, tensors: Tensors, config: GeneratorConfig, hparams: Mapping[str, Any]
) -> dict[str, Tensor]:
    layers = tensors.layers
    conv_bias = weights.stack("conv_layers.{}.conv.bias", layers)
    out = weights.stack("conv_layers.{}.conv1x1_out.weight", layers)[..., 0]
    skip = weights.stack("conv_layers.{}.conv1x1_skip.weight", layers)[..., 0]
    skip_bias = weights.stack("conv_layers.{}.conv1x1_skip.bias", layers)
    out_bias = weights.stack("conv_layers.{}.conv1x1_out.bias", layers)
    if tensors.first and hparams.get("legacy", True):
        factors = _legacy_skips(layers)
        skip, skip_bias = skip * factors[:, None, None], skip_bias * factors[:, None]
    ours = {
        "stem.weight": weights.take("first_conv.weight").permute(2, 1, 0),
        "stem.bias": weights.take("first_conv.bias"),
        "stack.conv_weight": weights.stack("conv_layers.{}.conv.weight", layers),
        "stack.out_weight": torch.cat([out, skip], dim=1),
        "stack.out_bias": torch.cat([out_bias, skip_bias], dim=1),
        "hidden.weight": weights.take("last_conv_layers.1.weight")[:, :, 0],
        "hidden.bias": weights.take("last_conv_layers.1.bias"),
        "output.weight": weights.take("last_conv_layers.3.weight")[:, :, 0],
        "output.bias": weights.take("last_conv_layers.3.bias"),
    }
    if config.distribution == "gaussian" and config.mixtures == 1 and tensors.outputs == 3:
        for name in ("output.weight", "output.bias"):  # a lone logit says nothing
            ours[name] = ours[name][1:]
    for kind, name in (("c", "local"), ("g", "vector")):
        channels = tensors.mels if kind == "c" else tensors.speaker_channels
        if not channels:
            continue
        stacked = weights.stack(f"conv_layers.{{}}.conv1x1{kind}.weight", layers).flatten(0, 1)
        ours[f"conditioning.{name}.weight"] = stacked if kind == "c" else stacked[:, :, 0]
        biases = f"conv_layers.{{}}.conv1x1{kind}.bias"
        if weights.has(biases, layers):  # always there, so that it may go into the convolution's
            conv_bias += weights.stack(biases, layers)
    ours["stack.conv_bias"] = conv_bias
    if tensors.speakers:
        ours["conditioning.embedding.weight"] = weights.take("embed_speakers.weight")
    if tensors.convolution_taps:
        ours["conditioning.frames.weight"] = weights.take("upsample_net.conv_in.weight")
    first = tensors.first
    stages = weights.numbered("upsample_conv." if first else _upsampling_prefix(tensors))
    for stage, weight in enumerate(stages):
        ours[f"conditioning.upsample.weights.{stage}"] = weight
        if first:
            ours[f"conditioning.upsample.biases.{stage}"] = weights.take(
                f"upsample_conv.{2 * stage}.bias"
            )
    weights.finish()
    return ours


def _upsampling_prefix(tensors: Tensors) -> str:
    inside = "upsample." if tensors.convolution_taps else ""
    return f"upsample_net.{inside}up_layers."


def _legacy_skips(layers: int) -> Tensor:
    """What s = (s + skip) sqrt(1/2), layer after layer, makes of each layer's skip."""
    powers = torch.arange(layers, 0, -1, dtype=torch.float64)
    powers[0] = layers - 1
    return torch.full((layers,), math.sqrt(0.5), dtype=torch.float64) ** powers


def to_vocoder(model: WaveNet, path: str | os.PathLike[str]) -> None:
    """Write a model as wavenet_vocoder's newest layout: a .pth, and hparams.json beside it.

    Raises:
        ModelError: what that layout can't say.
        OSError: the files can't be written.
    """
    config = model.config
    _check_exportable(config)
    to = Path(path)
    saved: dict[str, Any] = {"state_dict": _their_weights(model), "optimizer": None}
    saved |= {"global_step": 0, "global_epoch": 0, "global_test_step": 0}
    with replacing(to) as partial, open(partial, "wb") as file:
        torch.save(saved, file)
    hparams = json.dumps(_their_hparams(model), indent=2) + "\n"
    replace_file(to.with_name("hparams.json"), hparams)


def _check_exportable(config: GeneratorConfig) -> None:
    softmax = config.distribution == "softmax"
    truncated = (config.mu_law, config.mu) == ("truncated", (config.classes or 0) - 1)
    for wrong, what in (
        (config.stem_kernel_size != 1, f"stem_kernel_size {config.stem_kernel_size}"),
        (config.stem_activation != "none", f"stem_activation {config.stem_activation}"),
        (config.residual_scale != math.sqrt(0.5), f"residual_scale {config.residual_scale}"),
        (config.head_channels != config.skip_channels, f"head_channels {config.head_channels}"),
        (config.upsample == "transposed", "upsample transposed"),
        (config.layers is not None, f"layers {config.layers} in stacks of unequal depth"),
        (config.notes is not None, "notes"),
        (softmax and config.input == "scalar", "a softmax over scalars"),
        (softmax and config.companding == "none", "codes without mu-law"),
        (softmax and not truncated, f"mu_law {config.mu_law} with mu {config.mu}"),
        (config.pre_emphasis not in (0.0, PRE_EMPHASIS), f"pre_emphasis {config.pre_emphasis}"),
    ):
        if wrong:
            raise ModelError(f"the model has {what}, which wavenet_vocoder's files can't say")


def _their_weights(model: WaveNet) -> dict[str, Tensor]:
    config, stack, conditioning = model.config, model.stack, model.conditioning
    layers, residual = len(config.dilations), config.residual_channels
    # Theirs is the sum times sqrt(1 / layers).
    skips = config.skip_factor * math.sqrt(layers)
    theirs: dict[str, Tensor] = {}

    def write(name: str, weight: Tensor, bias: Tensor | None) -> None:
        theirs.update(split_weight_norm(name, weight.detach().cpu().contiguous()))
        if bias is not None:
            theirs[f"{name}.bias"] = bias.detach().cpu().clone()

    write("first_conv", model.stem.weight.permute(2, 1, 0), model.stem.bias)
    assert stack.conv_bias is not None and stack.out_bias is not None
    local = None if conditioning.local is None else conditioning.local.weight.chunk(layers)
    vector = None if conditioning.vector is None else conditioning.vector.weight.chunk(layers)
    for n in range(layers):
        layer = f"conv_layers.{n}"
        write(f"{layer}.conv", stack.conv_weight[n], stack.conv_bias[n])
        if local is not None:
            write(f"{layer}.conv1x1c", local[n], None)
        if vector is not None:
            write(f"{layer}.conv1x1g", vector[n][:, :, None], None)
        out, bias = stack.out_weight[n][:, :, None], stack.out_bias[n]
        write(f"{layer}.conv1x1_out", out[:residual], bias[:residual])
        write(f"{layer}.conv1x1_skip", skips * out[residual:], skips * bias[residual:])
    write("last_conv_layers.1", model.hidden.weight[:, :, None], model.hidden.bias)
    write("last_conv_layers.3", model.output.weight[:, :, None], model.output.bias)
    if conditioning.embedding is not None:
        theirs["embed_speakers.weight"] = conditioning.embedding.weight.detach().cpu().clone()
    if conditioning.upsample is not None and config.upsample == "interpolate":
        step = 2 if config.upsample_activation == "none" else 3
        prefix = "upsample_net."
        if conditioning.frames is not None:
            theirs["upsample_net.conv_in.weight"] = conditioning.frames.weight.detach().cpu()
            prefix += "upsample."
        for stage, weight in enumerate(conditioning.upsample.weights):
            write(f"{prefix}up_layers.{1 + step * stage}", weight, None)
    return theirs


def _their_hparams(model: WaveNet) -> dict[str, Any]:
    config = model.config
    softmax = config.distribution == "softmax"
    kind = "mulaw-quantize" if softmax else "mulaw" if config.companding == "mu-law" else "raw"
    outputs = model.distribution.channels
    hparams: dict[str, Any] = {
        "name": "wavenet_vocoder",
        "input_type": kind,
        "quantize_channels": config.classes,
        "sample_rate": config.sample_rate,
        "output_distribution": "Normal" if config.distribution == "gaussian" else "Logistic",
        "log_scale_min": config.log_scale_min,
        "out_channels": outputs,
        "layers": len(config.dilations),
        "stacks": config.stacks,
        "residual_channels": config.residual_channels,
        "gate_channels": 2 * config.dilation_channels,
        "skip_out_channels": config.skip_channels,
        "kernel_size": config.kernel_size,
        "dropout": 0.0,
        "cin_channels": config.mel.mels if config.mel else -1,
        "cin_pad": config.context_frames,
        "gin_channels": -1,
        "preprocess": "preemphasis" if config.pre_emphasis else "",
        "postprocess": "inv_preemphasis" if config.pre_emphasis else "",
        "global_gain_scale": config.gain,
        "highpass_cutoff": config.high_pass_hz,
    }
    if config.speakers:
        hparams |= {"gin_channels": config.speaker_channels, "n_speakers": len(config.speakers)}
    elif config.speaker_features:
        hparams["gin_channels"] = config.speaker_features
    if config.mel:
        mel = config.mel
        hparams |= {"num_mels": mel.mels, "fmin": mel.low_hz, "fmax": mel.high_hz}
        hparams |= {"fft_size": mel.n_fft, "hop_size": mel.hop, "win_length": mel.window}
        smoothed = config.upsample == "interpolate"
        hparams["upsample_conditional_features"] = smoothed
        inside = config.upsample_convolution
        hparams["upsample_net"] = "ConvInUpsampleNetwork" if inside else "UpsampleNetwork"
        activation = _THEIR_ACTIVATIONS[config.upsample_activation]
        slope = {"negative_slope": config.upsample_slope}
        hparams["upsample_params"] = {
            "upsample_scales": list(config.upsample_scales),
            "upsample_activation": activation,
            "upsample_activation_params": slope if activation == "LeakyReLU" else {},
            "mode": "nearest",
            "freq_axis_kernel_size": config.upsample_frequency_taps,
        }
    return hparams
