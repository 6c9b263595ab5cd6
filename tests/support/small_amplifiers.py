"""Amplifiers small enough for tests, with weights that keep signals in tanh's bend."""

from __future__ import annotations

import numpy as np
import torch

from wavenet.networks.amplifier import Amplifier, AmplifierConfig, LayersConfig


def small_amplifier(*arrays: LayersConfig) -> Amplifier:
    """Of an ungated and a gated array by default."""
    torch.manual_seed(0)
    arrays = arrays or (LayersConfig(5, (1, 7, 30)), LayersConfig(3, (2, 1), 2, gated=True))
    return Amplifier(AmplifierConfig(sample_rate=8000, arrays=arrays, scale=0.5)).eval()


@torch.no_grad()
def played(model: Amplifier, samples: np.ndarray) -> np.ndarray:
    """(n,) float32 or float64 through the model in that width."""
    made = model.to(torch.from_numpy(samples).dtype)(torch.from_numpy(samples)[None])[0].numpy()
    model.float()
    return made
