"""Generative networks by name: the recipes of wavenet_vocoder and WaveGlow, and a small one."""

from __future__ import annotations

import math
from typing import Any

from wavenet.data.mel import MelConfig
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.model import WaveNet
from wavenet.generation.waveglow import WaveGlow
from wavenet.generation.waveglow_config import WaveGlowConfig

# egs/mol, egs/gaussian and egs/mulaw256 of wavenet_vocoder share all of this.
_VOCODER: dict[str, Any] = {
    "residual_channels": 128,
    "dilation_channels": 128,
    "skip_channels": 128,
    "kernel_size": 3,
    "residual_scale": math.sqrt(0.5),
    "skip_scale": "layers",
    "upsample": "interpolate",
    "upsample_scales": (4, 4, 4, 4),
    "upsample_convolution": True,
    "context_frames": 2,
    "high_pass_hz": 70.0,
    "pre_emphasis": 0.85,
    "gain": 0.55,
}
_SHALLOW = {"layers_per_stack": 6, "stacks": 4}
_RECIPES: dict[str, dict[str, Any]] = {
    "wavenet-vocoder-mol": {**_VOCODER, **_SHALLOW, "distribution": "logistic"},
    "wavenet-vocoder-gaussian": {**_VOCODER, **_SHALLOW, "distribution": "gaussian"},
    "wavenet-vocoder-mulaw256": {
        **{**_VOCODER, "layers_per_stack": 10, "stacks": 3},
        **{"distribution": "softmax", "mu_law": "truncated"},
    },
}
# For short words at 8 kHz, as of the Free Spoken Digit Dataset: minutes on a CPU.
_FSDD: dict[str, Any] = {
    "residual_channels": 32,
    "dilation_channels": 32,
    "skip_channels": 64,
    "kernel_size": 2,
    "layers_per_stack": 8,
    "stacks": 2,
}
RATES = {**dict.fromkeys(_RECIPES, 22050), "wavenet-fsdd": 8000, "waveglow-256": 22050}


def preset_fields(name: str, sample_rate: int | None = None) -> dict[str, Any]:
    """The fields of `GeneratorConfig` or `WaveGlowConfig` that a name stands for.

    Raises:
        ValueError: there is no such name, or a rate that no mel-spectrogram has.
    """
    if name not in list(RATES):  # YAML may give anything, also what can't be a key
        raise ValueError(f"preset is {name!r}; accepted are {', '.join(RATES)}")
    rate = RATES[name] if sample_rate is None else sample_rate
    fields: dict[str, Any] = {"sample_rate": rate, "architecture": "wavenet"}
    if name == "waveglow-256":
        mel = MelConfig.tacotron2(rate, high_hz=min(8000.0, rate / 2))
        return {**fields, "architecture": "waveglow", "mel": mel}
    if name in _RECIPES:
        mel = MelConfig.vocoder(rate, high_hz=min(7600.0, rate / 2))
        return {**fields, **_RECIPES[name], "mel": mel}
    return {**fields, **_FSDD}


def create_generator(
    name: str, sample_rate: int | None = None, **overrides: Any
) -> WaveNet | WaveGlow:
    """An untrained generative model of one of the names in `RATES`, at that rate if none is given.

    Raises:
        ValueError: a field out of range.
        TypeError: no such field.
    """
    fields = {**preset_fields(name, sample_rate), **overrides}
    if fields["architecture"] == "waveglow":
        return WaveGlow(WaveGlowConfig(**fields))
    return WaveNet(GeneratorConfig(**fields))
