"""Neural Amp Modeler's files (.nam), those with a WaveNet in them, into our amplifiers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavenet.convert.hparams import Reading
from wavenet.convert.weights import take_weights
from wavenet.errors import ModelError, is_number, is_whole
from wavenet.networks.amplifier import LARGEST, Amplifier, AmplifierConfig, LayersConfig

# Of the configuration and of an array of layers; a file with others is of another network.
OF_ALL = ("layers", "head", "head_scale", "in_channels", "condition_dsp")
SIZES = ("input_size", "condition_size", "head_size", "channels", "kernel_size")
FIELDS = (*SIZES, "dilations", "activation", "gated", "head_bias")


def is_nam(path: Path) -> bool:
    """Whether it is one by its name: what is in it is JSON, as of many."""
    return path.suffix.lower() == ".nam"


def from_nam(path: Path) -> tuple[Amplifier, Reading]:
    """The model in a file, in float64, and what had to be assumed.

    Raises:
        ValueError: no such file, or another network than an `Amplifier`: a sentence.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is damaged, or no .nam: {error}") from None
    content = _mapping(content, "the file")
    if (architecture := content.get("architecture")) != "WaveNet":
        raise ModelError(f"its architecture is {architecture!r}; accepted is 'WaveNet'")
    config = _mapping(content.get("config"), "its config")
    if unknown := sorted(set(config) - set(OF_ALL)):
        raise ModelError(f"its config has {unknown[0]!r}; accepted are {', '.join(OF_ALL)}")
    for name in ("head", "condition_dsp"):
        if config.get(name) is not None:
            raise ModelError(f"its config has a {name}; accepted is none")
    if config.get("in_channels", 1) != 1:
        raise ModelError(f"its config has in_channels {config['in_channels']!r}; accepted is 1")
    arrays = _arrays(config.get("layers"))
    weights = content.get("weights")
    if not isinstance(weights, list) or not all(map(_is_weight, weights)) or not weights:
        raise ModelError("has no weights; accepted is a list of finite numbers of float32's range")
    reading = Reading(dict(content))
    rate = reading.get("sample_rate", 48000.0)
    sizes = tuple(
        LayersConfig(a["channels"], tuple(a["dilations"]), a["kernel_size"], a["gated"])
        for a in arrays
    )
    # The scale is the last weight; that of the configuration is how training began.
    described = AmplifierConfig(rate, sizes, scale=float(weights[-1]))
    wanted = 1 + _count(described, arrays)
    if len(weights) != wanted:
        raise ModelError(f"has {len(weights)} weights; accepted are {wanted}, as its layers want")
    model = Amplifier(described).double()
    flat = torch.tensor(weights, dtype=torch.float64)
    take_weights(model, _our_weights(model, arrays, flat))
    return model, reading


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelError(f"{name} is no object of JSON with fields, or missing")
    return value


def _arrays(layers: Any) -> list[dict[str, Any]]:
    """Each with all its fields, of an `Amplifier`'s kind."""
    if not isinstance(layers, list) or not layers:
        raise ModelError("its config has no layers; accepted is a list of them")
    arrays = []
    for number, given in enumerate(layers):
        name = f"its layers {number}"
        array = {"gated": False, **_mapping(given, name)}
        if unknown := sorted(set(array) - set(FIELDS)):
            raise ModelError(f"{name} have {unknown[0]!r}; accepted are {', '.join(FIELDS)}")
        if missing := [field for field in FIELDS if field not in array]:
            raise ModelError(f"{name} have no {missing[0]}")
        for field in SIZES:
            if not is_whole(array[field], 1):
                raise ModelError(f"{name} have {field} {array[field]!r}; accepted is an int from 1")
        if not isinstance(array["dilations"], list):
            raise ModelError(f"{name} have dilations {array['dilations']!r}; accepted is a list")
        arrays.append(array)
    for number, array in enumerate(arrays):
        accepted_of = {
            "activation": "Tanh",
            "condition_size": 1,
            "input_size": arrays[number - 1]["channels"] if number else 1,
            "head_size": 1 if array is arrays[-1] else arrays[number + 1]["channels"],
        }
        for field, accepted in accepted_of.items():
            if array[field] != accepted:
                raise ModelError(
                    f"its layers {number} have {field} {array[field]!r}; accepted is {accepted!r}"
                )
        if not isinstance(array["head_bias"], bool):
            raise ModelError(f"its layers {number} have no head_bias that is true or false")
    return arrays


def _is_weight(value: Any) -> bool:
    return is_number(value) and abs(value) <= LARGEST


def _count(config: AmplifierConfig, arrays: list[dict[str, Any]]) -> int:
    """Of weights but the scale, without memory for them."""
    with torch.device("meta"):
        model = Amplifier(config)
    missing = sum(array["head_size"] for array in arrays if not array["head_bias"])
    return sum(parameter.numel() for parameter in model.parameters()) - missing


def _our_weights(
    model: Amplifier, arrays: list[dict[str, Any]], weights: Tensor
) -> dict[str, Tensor]:
    """Layer after layer in the file, of all layers here; a head without a bias gets zeros."""
    at = 0

    def take(*shape: int) -> Tensor:
        nonlocal at
        at += math.prod(shape)
        return weights[at - math.prod(shape) : at].view(shape)

    ours: dict[str, Tensor] = {}
    of_layers = ("conv_weight", "conv_bias", "mixin_weight", "out_weight", "out_bias")
    for number, (layers, array) in enumerate(zip(model.arrays, arrays, strict=True)):
        shapes = {name: tensor.shape for name, tensor in layers.named_parameters()}
        taken = {"input_weight": take(*shapes["input_weight"])}
        each = [{name: take(*shapes[name][1:]) for name in of_layers} for _ in array["dilations"]]
        taken |= {name: torch.stack([one[name] for one in each]) for name in of_layers}
        taken["head_weight"] = take(*shapes["head_weight"])
        bias = shapes["head_bias"]
        zeros = torch.zeros(bias, dtype=torch.float64)
        taken["head_bias"] = take(*bias) if array["head_bias"] else zeros
        ours |= {f"arrays.{number}.{name}": tensor for name, tensor in taken.items()}
    return ours
