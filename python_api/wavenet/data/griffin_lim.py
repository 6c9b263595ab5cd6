"""Sound of mel-spectrograms without a network: the baseline of vocoders.

Source: D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform", IEEE
TASSP 32(2), 1984.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wavenet.data.mel import MelConfig, mel_filterbank, mel_magnitudes
from wavenet.errors import DataError


def griffin_lim(mel: Tensor, config: MelConfig, iterations: int = 60, seed: int = 0) -> Tensor:
    """Phases that fit the magnitudes, starting from random ones.

    Args:
        mel: (B, M, F) of a description whose frames are centred.
        config: the description.
        iterations: of going to sound and back.
        seed: of the first phases.

    Returns:
        (B, (F - 1) hop), float32.

    Raises:
        DataError: a description whose frames are not centred.
    """
    if config.padding != "reflect":
        raise DataError(f"padding is {config.padding!r}; accepted is 'reflect'")
    bank = mel_filterbank(
        config.sample_rate, config.n_fft, config.mels, config.low_hz, config.high_hz
    )
    inverse = torch.linalg.pinv(bank)
    magnitudes = (inverse @ mel_magnitudes(mel.double(), config)).clamp_min(0.0)
    window = torch.hann_window(config.window, dtype=torch.float64)
    settings: dict[str, Any] = {
        "n_fft": config.n_fft,
        "hop_length": config.hop,
        "win_length": config.window,
    }
    random = torch.rand(magnitudes.shape, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.polar(magnitudes, (2 * torch.pi * random).double())
    sound = torch.istft(spectrum, window=window, **settings)
    for _ in range(iterations):
        again = torch.stft(sound, window=window, return_complex=True, **settings)
        spectrum = torch.polar(magnitudes, again.angle())
        sound = torch.istft(spectrum, window=window, **settings)
    return sound.float()
