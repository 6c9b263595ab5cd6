"""Generative WaveNets of a few channels, one for each distribution and conditioning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wavenet import GeneratorConfig, WaveNet
from wavenet.data.mel import MelConfig
from wavenet.data.notes import NoteConfig

MEL = MelConfig(sample_rate=8000, n_fft=64, hop=16, window=64, mels=5, low_hz=0.0, high_hz=4000.0)
NOTES = NoteConfig(hop=16, lowest=60, highest=64)
SIZES: dict[str, Any] = {
    "sample_rate": 8000,
    "residual_channels": 8,
    "dilation_channels": 6,
    "skip_channels": 10,
    "layers_per_stack": 3,
    "stacks": 2,
}
SCALES = {"upsample_scales": (4, 4)}

CASES: dict[str, dict[str, Any]] = {
    "codes": {},
    "codes truncated": {"mu_law": "truncated", "head_channels": 7},
    "codes of two tables": {"stem_kernel_size": 2, "stem_activation": "tanh", "classes": 16},
    "codes as scalars": {"input": "scalar", "classes": 33, "companding": "none"},
    "logistic": {"distribution": "logistic", "mixtures": 2, "stem_kernel_size": 3},
    "logistic pixelcnn": {"distribution": "logistic", "edges": "pixelcnn", "kernel_size": 3},
    "logistic companded": {"distribution": "logistic", "companding": "mu-law", "classes": 256},
    "gaussian": {"distribution": "gaussian", "skip_scale": "layers", "residual_scale": 0.5**0.5},
    "gaussians": {"distribution": "gaussian", "mixtures": 3, "sampling_scale_floor": -5.0},
    "speakers": {"speakers": ("george", "jackson"), "speaker_channels": 4},
    "speaker vectors": {"distribution": "logistic", "speaker_features": 3},
    "mel repeated": {"distribution": "logistic", "mel": MEL, "upsample": "repeat"},
    "mel interpolated": {
        **{"distribution": "logistic", "mel": MEL, **SCALES, "speakers": ("george", "jackson")},
        **{"context_frames": 2, "upsample_convolution": True},
    },
    "mel interpolated, context cut": {"mel": MEL, **SCALES, "context_frames": 1},
    "mel smoothed over channels": {
        **{"mel": MEL, **SCALES, "upsample_frequency_taps": 3},
        **{"upsample_activation": "leaky_relu", "upsample_slope": 0.3},
    },
    "mel by deconvolution": {
        **{"distribution": "logistic", "mel": MEL, "upsample": "deconvolution"},
        **{"upsample_taps": 40},
    },
    "mel transposed": {
        **{"distribution": "logistic", "mel": MEL, "upsample": "transposed", **SCALES},
        **{"upsample_activation": "relu"},
    },
    "notes": {"notes": NOTES, "speakers": ("george", "jackson")},
    "notes interpolated": {"distribution": "gaussian", "notes": NOTES, "upsample": "interpolate"},
}


def small_generator(case: str, **overrides: Any) -> WaveNet:
    """In eval mode, with weights that make conditioning heard."""
    torch.manual_seed(sum(case.encode()))
    model = WaveNet(GeneratorConfig(**{**SIZES, **CASES[case], **overrides})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "upsample" in name or "frames" in name:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def inputs_of(model: WaveNet, batch: int, samples: int = 96) -> dict[str, Any]:
    """Frames and speakers, where the model has them: keywords of forward and generate."""
    torch.manual_seed(batch)
    config, given = model.config, {}
    if config.frame_channels:
        given["mel"] = torch.randn(batch, config.frame_channels, samples // config.hop)
    if config.speakers:
        given["speaker"] = ["george", "jackson", "george"][:batch]
    if config.speaker_features:
        given["speaker"] = torch.randn(batch, config.speaker_features)
    return given


def double(given: dict[str, Any]) -> dict[str, Any]:
    """The same in float64."""
    return {k: v.double() if isinstance(v, Tensor) else v for k, v in given.items()}


def waveform_of(batch: int, samples: int = 96) -> Tensor:
    torch.manual_seed(7)
    return torch.rand(batch, samples) * 1.6 - 0.8
