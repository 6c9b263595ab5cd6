"""wavenet_vocoder's hparams: where they are, and what configuration they mean."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from wavenet.data.mel import MelConfig
from wavenet.errors import ModelError, is_number
from wavenet.generation.config import GeneratorConfig

HParams = Mapping[str, Any] | str | os.PathLike[str]
T = TypeVar("T")

PRE_EMPHASIS = 0.85  # constant in its code
ACTIVATIONS = {"none": "none", "ReLU": "relu", "LeakyReLU": "leaky_relu"}


@dataclass
class Tensors:
    """What the shapes of a checkpoint tell."""

    first: bool  # v0.1.1
    layers: int
    residual: int
    gates: int
    skip: int
    head: int
    kernel_size: int
    inputs: int
    outputs: int
    mels: int = 0
    speaker_channels: int = 0
    speakers: int = 0
    scales: tuple[int, ...] = ()
    frequency_taps: int = 1
    convolution_taps: int = 0


def value_of(values: Mapping[str, Any], name: str, default: T) -> T:
    """A field of a JSON file, of the default's kind; the default where it is missing or null.

    Raises:
        ModelError: one of another kind.
    """
    value: Any = values.get(name)
    if value is None:
        return default
    if isinstance(default, str):
        fits, accepted = isinstance(value, str), "a string"
    elif isinstance(default, Mapping):
        fits, accepted = isinstance(value, Mapping), "fields"
    elif isinstance(default, float):
        fits, accepted = is_number(value), "a number"
        value = float(value) if fits else value
    else:
        fits, accepted = is_number(value) and value == int(value), "a whole number"
        value = int(value) if fits else value
    if not fits:
        raise ModelError(f"{name} is {value!r}; accepted is {accepted}")
    return cast(T, value)


@dataclass
class Reading:
    """Hparams, and what had to be assumed beyond them."""

    values: dict[str, Any]
    assumed: list[str] = field(default_factory=list)

    def get(self, name: str, default: T, because: str = "") -> T:
        """A value, of the default's kind; an assumption where it is missing.

        Raises:
            ModelError: one of another kind.
        """
        if self.values.get(name) is None:
            self.assumed.append(f"{name} {default!r}{because}")
        return self.find(name, default)

    def find(self, name: str, default: T) -> T:
        """The same, where a missing one needs no word."""
        return value_of(self.values, name, default)


def read_hparams(hparams: HParams | None, checkpoint: Path) -> dict[str, Any]:
    """Of a dictionary or a JSON file; None: hparams.json beside the checkpoint, if there is one.

    Raises:
        ModelError: a file that is missing or no JSON of fields.
    """
    if isinstance(hparams, Mapping):
        return dict(hparams)
    given: Any = hparams
    if not isinstance(given, str | os.PathLike | None):
        came = type(given).__name__
        raise ModelError(f"hparams is a {came}; accepted is a dictionary or a JSON file")
    path = checkpoint.with_name("hparams.json") if hparams is None else Path(hparams)
    if hparams is None and not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: can't be read as hparams: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}; accepted are fields")
    return content


def config_of(reading: Reading, tensors: Tensors) -> GeneratorConfig:
    """The configuration of a checkpoint with these hparams.

    Raises:
        ModelError: hparams that the weights contradict, or that no network here can have.
    """
    try:
        return GeneratorConfig(**_fields(reading, tensors))
    except ValueError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"its hparams can't be used: {error}") from None


def _fields(reading: Reading, tensors: Tensors) -> dict[str, Any]:
    values = reading.values
    stacks = values.get("stacks")
    if not isinstance(stacks, int) or stacks < 1 or tensors.layers % stacks:
        came = "missing" if stacks is None else repr(stacks)
        raise ModelError(
            f"stacks is {came}; accepted is a divisor of its {tensors.layers} layers: no tensor "
            "tells the dilations, so hparams.json is needed (beside the file, or as hparams)"
        )
    rate = reading.get("sample_rate", 22050)
    fields: dict[str, Any] = {
        **_samples(reading, tensors),
        "sample_rate": rate,
        "residual_channels": tensors.residual,
        "dilation_channels": tensors.gates // 2,
        "skip_channels": tensors.skip,
        "head_channels": tensors.head,
        "kernel_size": tensors.kernel_size,
        "layers_per_stack": tensors.layers // stacks,
        "stacks": stacks,
        "residual_scale": math.sqrt(0.5),
        "skip_scale": 1 if tensors.first else "layers",
        "gain": reading.find("global_gain_scale", 1.0) or 1.0,
        "pre_emphasis": PRE_EMPHASIS if values.get("preprocess") == "preemphasis" else 0.0,
        "high_pass_hz": max(0.0, reading.find("highpass_cutoff", 0.0)),
    }
    if tensors.speakers:
        fields["speakers"] = tuple(str(i) for i in range(tensors.speakers))
        fields["speaker_channels"] = tensors.speaker_channels
    elif tensors.speaker_channels:
        fields["speaker_features"] = tensors.speaker_channels
    if tensors.mels:
        fields |= _upsampling(reading, tensors, rate)
    return fields


def _samples(reading: Reading, tensors: Tensors) -> dict[str, Any]:
    """Distribution, classes and companding."""
    usual = "mulaw-quantize" if tensors.inputs > 1 else "raw"
    kind = reading.get("input_type", usual)
    if kind not in ("raw", "mulaw", "mulaw-quantize"):
        raise ModelError(f"input_type is {kind!r}; accepted are raw, mulaw and mulaw-quantize")
    if (kind == "mulaw-quantize") != (tensors.inputs > 1):
        raise ModelError(f"input_type is {kind!r}, but its first layer has {tensors.inputs} inputs")
    mu_of = 0 if tensors.first else -1
    if kind == "mulaw-quantize":
        if tensors.inputs != tensors.outputs:
            raise ModelError(f"has {tensors.inputs} classes in and {tensors.outputs} out")
        mu = reading.find("quantize_channels", tensors.outputs) + mu_of
        return {
            "distribution": "softmax",
            "classes": tensors.outputs,
            "mu_law": "truncated",
            "mu": mu,
        }
    floor = reading.get("log_scale_min", -32.23619130191664 if tensors.first else -16.0)
    fields: dict[str, Any] = {
        "log_scale_min": floor,
        "sampling_scale_floor": floor if tensors.first else None,
    }
    if kind == "mulaw":
        fields |= {"companding": "mu-law", "mu": 256 + mu_of}
    law = "Logistic" if tensors.first else reading.get("output_distribution", "Logistic")
    if law == "Logistic" and tensors.outputs % 3 == 0:
        classes = reading.get("quantize_channels", 65536 if kind == "raw" else 256)
        mixtures = tensors.outputs // 3
        edges = reading.find("edges", "pixelcnn")
        return fields | {
            "distribution": "logistic",
            "classes": classes,
            "mixtures": mixtures,
            "edges": edges,
        }
    if law == "Normal" and (tensors.outputs == 2 or tensors.outputs % 3 == 0):
        return fields | {"distribution": "gaussian", "mixtures": max(1, tensors.outputs // 3)}
    raise ModelError(
        f"output_distribution is {law!r} with {tensors.outputs} outputs; accepted are Logistic "
        "with 3 N, and Normal with 2 or 3 N"
    )


def _upsampling(reading: Reading, tensors: Tensors, rate: int) -> dict[str, Any]:
    parameters: Mapping[str, Any] = reading.find("upsample_params", {})
    fields: dict[str, Any] = {"upsample": "repeat", "context_frames": 0}
    hop = reading.find("hop_size", int(reading.find("frame_shift_ms", 0.0) / 1000 * rate))
    if tensors.scales:
        if tensors.first:
            fields |= {"upsample": "transposed", "upsample_activation": "relu"}
        else:
            fields |= {"upsample": "interpolate", **_activation(parameters)}
        fields["upsample_scales"] = tensors.scales
        fields["upsample_frequency_taps"] = tensors.frequency_taps
        product = math.prod(tensors.scales)
        if hop not in (0, product):
            reading.assumed.append(f"hop {product}, the upsampling's, not hop_size {hop}")
        hop = product
        if tensors.convolution_taps:
            fields["context_frames"] = tensors.convolution_taps // 2
            fields["upsample_convolution"] = True
        elif not tensors.first:
            fields["context_frames"] = reading.find("cin_pad", 0) or value_of(
                parameters, "cin_pad", 0
            )
    fields["mel"] = _mel(reading, tensors, rate, hop or reading.get("hop_size", 256))
    return fields


def _activation(parameters: Mapping[str, Any]) -> dict[str, Any]:
    name = value_of(parameters, "upsample_activation", "none")
    mode = value_of(parameters, "mode", "nearest")
    if name not in ACTIVATIONS or mode != "nearest":
        raise ModelError(
            f"upsamples with mode {mode!r} and activation {name!r}; accepted are nearest and one "
            f"of {tuple(ACTIVATIONS)}"
        )
    settings: Mapping[str, Any] = value_of(parameters, "upsample_activation_params", {})
    slope = value_of(settings, "negative_slope", 0.01)
    return {"upsample_activation": ACTIVATIONS[name], "upsample_slope": slope}


def _mel(reading: Reading, tensors: Tensors, rate: int, hop: int) -> MelConfig:
    """The front-end that the hparams describe; the first generation's was the package lws."""
    mels = tensors.mels
    if reading.values.get("num_mels", mels) != mels:
        reading.assumed.append(f"num_mels {mels}, as its weights have it")
    points = reading.get("fft_size", 1024)
    window = reading.find("win_length", points)
    if (milliseconds := reading.find("win_length_ms", -1.0)) > 0:
        window = int(milliseconds / 1000 * rate)
    high = reading.get("fmax", 7600.0)
    if high > rate / 2:
        reading.assumed.append(f"fmax {rate / 2:g}, half the rate, not {high:g}")
        high = rate / 2
    mean, std = reading.values.get("mean"), reading.values.get("std")
    if mean is None and not tensors.first:
        reading.assumed.append(
            "mels that come normalised as in its training: the means and deviations are in no "
            "checkpoint (give them as mean and std)"
        )
    first: dict[str, Any] = {"compression": "db", "floor": 1e-5, "padding": "lws"}
    return MelConfig(
        sample_rate=rate,
        n_fft=points,
        hop=hop,
        window=min(window, points),
        mels=mels,
        low_hz=reading.get("fmin", 125.0),
        high_hz=high,
        mean=mean,
        std=std,
        **(first if tensors.first else {}),
    )
