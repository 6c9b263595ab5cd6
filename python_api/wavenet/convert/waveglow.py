"""WaveGlow's checkpoints, of all three layouts, into our model, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavenet.convert.hparams import Reading
from wavenet.convert.state_dicts import split_weight_norm
from wavenet.convert.weights import Weights, take_weights
from wavenet.data.mel import MelConfig
from wavenet.errors import ModelError, of_fields
from wavenet.files import replacing
from wavenet.generation.flow import Flow
from wavenet.generation.waveglow import WaveGlow
from wavenet.generation.waveglow_config import WaveGlowConfig
from wavenet_kernels.nn.eager import out_rows

# What can be said beside the file, as no tensor tells it.
OPTIONS = ("sample_rate", "mel", "hop", "sigma", "swap_halves", "early_every", "early_size")
_HOP = 256  # constant in the original's code


def is_waveglow(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are WaveGlow's."""
    return "convinv.0.conv.weight" in weights and "WN.0.start.weight" in weights


def from_waveglow(
    weights: Mapping[str, Tensor], options: Mapping[str, Any]
) -> tuple[WaveGlow, Reading, str]:
    """A model with the weights (folded, float64), what had to be assumed, and which layout it is.

    Raises:
        ModelError: options that there are not, weights that are missing, unknown or don't fit.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ModelError(f"{unknown[0]} is no option of WaveGlow; accepted are {OPTIONS}")
    reading = Reading(dict(options))
    layout, ours = _renamed(weights)
    try:
        model = WaveGlow(_config_of(ours, reading)).double()
    except KeyError as error:
        raise ModelError(f"has no {error.args[0]}") from None
    take_weights(model, _our_weights(ours, model.config))
    return model, reading, layout


def to_waveglow(model: WaveGlow, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint of the original's newest layout: {"state_dict": ...} with weight norm.

    Raises:
        ModelError: a model that its code can't be.
        OSError: the file can't be written.
    """
    config = model.config
    if config.hop != _HOP or config.upsample_kernel_size != 4 * _HOP:
        raise ModelError(f"the model has a hop of {config.hop}; WaveGlow's code has {_HOP} alone")
    for name in ("swap_halves", "whiten"):
        if getattr(config, name):
            raise ModelError(f"the model has {name}, which WaveGlow's newest code can't say")
    saved = {"state_dict": _their_weights(model), "config": _their_config(config)}
    with replacing(Path(path)) as partial, open(partial, "wb") as file:
        torch.save(saved, file)


def _renamed(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The first and the middle layout's names as the newest's: rows of several layers in one."""
    new = dict(weights)
    layout = "newest layout"
    networks = sorted({int(m[1]) for name in new if (m := re.match(r"WN\.(\d+)\.", name))})
    for k in networks:
        layers = sum(
            name.startswith(f"WN.{k}.in_layers.") and name.endswith("weight") for name in new
        )
        for part in ("weight", "bias"):
            split = [f"WN.{k}.cond_layers.{i}.{part}" for i in range(layers)]
            if split[0] in new:
                layout = "middle layout"
                new[f"WN.{k}.cond_layer.{part}"] = torch.cat([_take(new, name) for name in split])
        for part in ("weight", "bias"):
            if f"WN.{k}.skip_layers.0.{part}" not in new:
                continue
            layout = "first layout"
            for i in range(layers):
                rows = [_take(new, f"WN.{k}.skip_layers.{i}.{part}")]
                if i < layers - 1:
                    rows.insert(0, _take(new, f"WN.{k}.res_layers.{i}.{part}"))
                new[f"WN.{k}.res_skip_layers.{i}.{part}"] = torch.cat(rows)
    return layout, new


def _take(weights: dict[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise ModelError(f"has no {name}")
    return weights.pop(name)


def _config_of(weights: Mapping[str, Tensor], reading: Reading) -> WaveGlowConfig:
    channels = [
        weights[f"convinv.{k}.conv.weight"].shape[0]
        for k in range(sum(name.startswith("convinv.") for name in weights))
    ]
    exits = [k for k in range(1, len(channels)) if channels[k] != channels[k - 1]]
    mels, _, taps = weights["upsample.weight"].shape
    layers = sum(
        name.startswith("WN.0.in_layers.") and name.endswith(".weight") for name in weights
    )
    rate = reading.get("sample_rate", 22050)
    hop = reading.get("hop", _HOP, ", which is constant in its code")
    mel = reading.values.get("mel")
    if mel is None:
        mel = MelConfig.tacotron2(rate, mels=mels, hop=hop)
        reading.assumed.append("the mel-spectrogram of Tacotron 2")
    mel = of_fields(MelConfig, mel, "mel")
    if not isinstance(mel, MelConfig):
        raise ModelError(f"mel is a {type(mel).__name__}; accepted is a MelConfig")
    if mel.mels != mels:
        raise ModelError(f"mel has {mel.mels} channels, the checkpoint {mels}")
    optional = {"sigma", "swap_halves", "early_every", "early_size"} & set(reading.values)
    return WaveGlowConfig(
        **{
            "sample_rate": rate,
            "mel": mel,
            "flows": len(channels),
            "group": channels[0],
            "early_every": exits[0] if exits else len(channels),
            "early_size": channels[0] - channels[exits[0]] if exits else 0,
            "layers": layers,
            "channels": weights["WN.0.start.weight"].shape[0],
            "kernel_size": weights["WN.0.in_layers.0.weight"].shape[2],
            "upsample_kernel_size": taps,
            **{name: reading.values[name] for name in optional},
        }
    )


def _our_weights(weights: Mapping[str, Tensor], config: WaveGlowConfig) -> dict[str, Tensor]:
    theirs = Weights(weights)
    ours = {f"upsample.{part}": theirs.take(f"upsample.{part}") for part in ("weight", "bias")}
    width = config.channels
    for k in range(config.flows):
        flow, wn = f"flows.{k}", f"WN.{k}"
        ours[f"{flow}.convolution.weight"] = theirs.take(f"convinv.{k}.conv.weight").squeeze(2)
        for our, their in (("start", "start"), ("condition", "cond_layer"), ("end", "end")):
            name = f"{flow}.network.{our}"
            ours[f"{name}.weight"] = theirs.take(f"{wn}.{their}.weight").squeeze(2)
            ours[f"{name}.bias"] = theirs.take(f"{wn}.{their}.bias")
        stack = f"{flow}.network.stack"
        for part in ("weight", "bias"):
            name = f"{wn}.in_layers.{{}}.{part}"
            ours[f"{stack}.conv_{part}"] = theirs.stack(name, config.layers)
            layers = range(config.layers)
            rows = [theirs.take(f"{wn}.res_skip_layers.{i}.{part}") for i in layers]
            # The last layer has no residual: its rows are there, zeros, and not used.
            rows[-1] = out_rows(None, rows[-1], width)
            values = torch.stack(rows)
            ours[f"{stack}.out_{part}"] = values.squeeze(3) if part == "weight" else values
    theirs.finish()
    return ours


def _their_weights(model: WaveGlow) -> dict[str, Tensor]:
    theirs: dict[str, Tensor] = {}

    def write(name: str, weight: Tensor, bias: Tensor) -> None:
        theirs.update(split_weight_norm(name, weight.detach().cpu().contiguous()))
        theirs[f"{name}.bias"] = bias.detach().cpu().clone()

    width, last = model.config.channels, model.config.layers - 1
    for part in ("weight", "bias"):
        theirs[f"upsample.{part}"] = getattr(model.upsample, part).detach().cpu().clone()
    for k, flow in enumerate(model.flows):
        assert isinstance(flow, Flow)
        network, stack = flow.network, flow.network.stack
        weight = flow.convolution.weight.detach().cpu()
        theirs[f"convinv.{k}.conv.weight"] = weight.unsqueeze(2).clone()
        write(f"WN.{k}.start", network.start.weight.unsqueeze(2), network.start.bias)
        write(f"WN.{k}.cond_layer", network.condition.weight.unsqueeze(2), network.condition.bias)
        theirs[f"WN.{k}.end.weight"] = network.end.weight.detach().cpu().unsqueeze(2).clone()
        theirs[f"WN.{k}.end.bias"] = network.end.bias.detach().cpu().clone()
        assert stack.conv_bias is not None and stack.out_bias is not None
        for i in range(last + 1):
            write(f"WN.{k}.in_layers.{i}", stack.conv_weight[i], stack.conv_bias[i])
            rows = slice(width if i == last else 0, None)
            out = stack.out_weight[i][rows].unsqueeze(2)
            write(f"WN.{k}.res_skip_layers.{i}", out, stack.out_bias[i][rows])
    return theirs


def _their_config(config: WaveGlowConfig) -> dict[str, Any]:
    network = {
        "n_layers": config.layers,
        "n_channels": config.channels,
        "kernel_size": config.kernel_size,
    }
    return {
        "n_mel_channels": config.mel.mels,
        "n_flows": config.flows,
        "n_group": config.group,
        "n_early_every": config.early_every,
        "n_early_size": config.early_size,
        "WN_config": network,
    }
