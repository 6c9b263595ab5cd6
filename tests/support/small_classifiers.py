"""Small classifiers as files of the C library, and something for them to hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from norms import with_statistics

import wavenet
from wavenet.classifier.inference.runtime import runtime_file

LABELS = ("dog", "Regen", "Wind über dem Meer")
SMALL = {
    "sample_rate": 1000,
    "stem_stride": 4,
    "stem_kernel_size": 9,
    "residual_channels": 8,
    "dilation_channels": 12,
    "skip_channels": 20,
    "layers_per_stack": 4,
    "stacks": 2,
    "head_channels": 24,
    "frame_ms": 20.0,
}


def small(**fields: object) -> wavenet.WaveNetClassifier:
    torch.manual_seed(3)
    config = wavenet.WaveNetConfig(labels=LABELS, **{**SMALL, **fields})  # type: ignore[arg-type]
    return with_statistics(wavenet.WaveNetClassifier(config).eval())


def write(model: wavenet.WaveNetClassifier, folder: Path, weights: str = "float32") -> Path:
    path = folder / "model.wavenet"
    path.write_bytes(runtime_file(model, weights))
    return path


def signal(samples: int) -> np.ndarray:
    random = np.random.default_rng(5)
    envelope = np.repeat(random.uniform(0.01, 1, samples // 100 + 1), 100)[:samples]
    return (random.uniform(-1, 1, samples) * envelope).astype(np.float32)
