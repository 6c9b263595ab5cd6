"""What is constant in a recording taken out of it: level, microphone, part of the voice.

Every clip by itself, over its own length, in training as afterwards: nothing is learned or kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wavenet.audio.effects import SILENCE
from wavenet.networks.lengths import mask

# Root mean square: -20 dBFS.
LEVEL = 0.1
FLAT_VARIANCE = 1e-4


def normalize_level(waveform: Tensor, lengths: Tensor) -> Tensor:
    """(B, T) -> (B, T): mean 0 and one level for each clip, zeros after its end.

    What is quieter than `SILENCE` stays quiet.
    """
    centred, power = _centred(waveform.unsqueeze(1), lengths)
    scaled = centred * (LEVEL * (power + SILENCE**2).rsqrt())
    return scaled.squeeze(1).to(waveform.dtype)


def normalize_frames(frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, C, F) -> (B, C, F): mean 0 and variance 1 for each channel over each clip's frames.

    As instance normalisation (arXiv 1607.08022), zeros after a clip's end.
    """
    centred, variance = _centred(frames, lengths)
    return (centred * (variance + FLAT_VARIANCE).rsqrt()).to(frames.dtype)


def _centred(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Without the mean, zeros after the end; and the variance (B, C, 1). Sums are float32's."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    inside = mask(lengths, x.shape[2])
    count = lengths.view(-1, 1, 1)
    mean = (x * inside).sum(2, keepdim=True) / count
    centred = (x - mean) * inside
    return centred, centred.square().sum(2, keepdim=True) / count
