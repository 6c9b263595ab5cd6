"""nv-wavenet's checkpoints, of its PyTorch half, into our model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wavenet.convert.hparams import Reading
from wavenet.convert.torch_files import Inert
from wavenet.convert.weights import Weights, take_weights
from wavenet.data.mel import MelConfig
from wavenet.errors import ModelError, of_fields
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.model import WaveNet

OPTIONS = ("max_dilation", "hop", "sample_rate", "mel")


def is_nv_wavenet(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are nv-wavenet's."""
    return "embed.weight" in weights and "dilate_layers.0.conv.weight" in weights


def from_nv_wavenet(
    weights: Mapping[str, Tensor], saved: Any, options: Mapping[str, Any]
) -> tuple[WaveNet, Reading]:
    """A model with the weights (float64), and what had to be assumed.

    What no tensor tells, a pickled module has as attributes: max_dilation and the hop.

    Raises:
        ModelError: options that there are not, weights that are missing, unknown or don't fit.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ModelError(f"{unknown[0]} is no option of nv-wavenet; accepted are {OPTIONS}")
    module = saved.get("model") if isinstance(saved, Mapping) else saved
    reading = Reading({**_attributes(module), **options})
    taken = Weights(weights)
    config = _config_of(taken, reading)
    model = WaveNet(config).double()
    take_weights(model, _our_weights(taken, config))
    return model, reading


def _attributes(module: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(module, Inert):
        found["max_dilation"] = getattr(module, "max_dilation", None)
        upsample = (getattr(module, "_modules", None) or {}).get("upsample")
        stride = getattr(upsample, "stride", None)
        found["hop"] = stride[0] if isinstance(stride, tuple) and stride else None
    return found


def _config_of(weights: Weights, reading: Reading) -> GeneratorConfig:
    classes, residual = weights.look("embed.weight").shape
    skip = weights.look("skip_layers.0.conv.weight").shape[0]
    layers = weights.count("dilate_layers.")
    mels, _, taps = weights.look("upsample.weight").shape
    largest = reading.values.get("max_dilation")
    if not isinstance(largest, int) or largest < 1:
        raise ModelError(
            f"max_dilation is {'missing' if largest is None else repr(largest)}; accepted is that "
            "of its training, as an option: no tensor tells it"
        )
    each = min(layers, largest.bit_length())  # doubled until it is reached, then from 1 again
    stacks = -(-layers // each)
    hop = reading.get("hop", taps // 4)
    rate = reading.get("sample_rate", 16000)
    mel = reading.values.get("mel")
    if mel is None:
        mel = MelConfig.tacotron2(
            rate, n_fft=taps, hop=hop, window=taps, mels=mels, high_hz=min(8000.0, rate / 2)
        )
        reading.assumed.append("the mel-spectrograms of its own training recipe")
    mel = of_fields(MelConfig, mel, "mel")
    return GeneratorConfig(
        sample_rate=rate,
        classes=classes,
        residual_channels=residual,
        dilation_channels=residual,
        skip_channels=skip,
        head_channels=weights.look("conv_out.conv.weight").shape[0],
        kernel_size=2,
        layers_per_stack=each,
        stacks=stacks,
        layers=None if layers == stacks * each else layers,
        mel=mel,
        upsample="deconvolution",
        upsample_taps=taps,
    )


def _our_weights(weights: Weights, config: GeneratorConfig) -> dict[str, Tensor]:
    layers, residual = len(config.dilations), config.residual_channels
    conv_bias = weights.stack("dilate_layers.{}.conv.bias", layers)
    conv_bias = conv_bias + weights.take("cond_layers.conv.bias").view_as(conv_bias)
    skip = weights.stack("skip_layers.{}.conv.weight", layers)[..., 0]
    skip_bias = weights.stack("skip_layers.{}.conv.bias", layers)
    # Its last layer has no residual.
    out, out_bias = skip.new_zeros(layers, residual, residual), skip.new_zeros(layers, residual)
    if layers > 1:
        out[:-1] = weights.stack("res_layers.{}.conv.weight", layers - 1)[..., 0]
        out_bias[:-1] = weights.stack("res_layers.{}.conv.bias", layers - 1)
    hidden = weights.take("conv_out.conv.weight")[:, :, 0]
    output = weights.take("conv_end.conv.weight")[:, :, 0]
    ours = {
        "stem.weight": weights.take("embed.weight")[None],
        "stem.bias": skip.new_zeros(residual),
        "stack.conv_weight": weights.stack("dilate_layers.{}.conv.weight", layers),
        "stack.conv_bias": conv_bias,
        "stack.out_weight": torch.cat([out, skip], dim=1),
        "stack.out_bias": torch.cat([out_bias, skip_bias], dim=1),
        "conditioning.local.weight": weights.take("cond_layers.conv.weight"),
        "conditioning.upsample.weights.0": weights.take("upsample.weight"),
        "conditioning.upsample.biases.0": weights.take("upsample.bias"),
        "hidden.weight": hidden,
        "hidden.bias": hidden.new_zeros(len(hidden)),
        "output.weight": output,
        "output.bias": output.new_zeros(len(output)),
    }
    weights.finish()
    return ours
