"""Distances between recordings, and the baseline of vocoders."""

from __future__ import annotations

import math

import pytest
import torch

from wavenet.data.griffin_lim import griffin_lim
from wavenet.data.mel import MelConfig, mel_spectrogram
from wavenet.errors import DataError
from wavenet.generation.comparing import compare

RATE = 8000


def noise(samples: int = RATE, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_a_gain_is_so_many_decibels_and_the_same_cepstra():
    wave = noise()
    assert compare(wave, wave, RATE)["log_spectral_distance_db"] == 0
    found = compare(wave * 0.5, torch.cat((wave, wave)), RATE)
    assert found["log_spectral_distance_db"] == pytest.approx(20 * math.log10(2), abs=0.2)
    assert found["mel_cepstral_distortion_db"] == pytest.approx(0, abs=0.05)
    other = compare(noise(seed=1), wave, RATE)
    assert other["log_spectral_distance_db"] > 5 and other["mel_cepstral_distortion_db"] > 1


@pytest.mark.parametrize("compression", ["ln", "log10", "db"])
def test_griffin_lim_makes_a_tone_of_its_mel(compression):
    floor = 1e-5 if compression != "log10" else 1e-10
    config = MelConfig(
        **{"sample_rate": RATE, "n_fft": 512, "hop": 128, "window": 512, "mels": 60},
        **{"low_hz": 0.0, "high_hz": 4000.0, "compression": compression, "floor": floor},
    )
    tone = 0.3 * torch.sin(2 * math.pi * 440 * torch.arange(RATE) / RATE)
    sound = griffin_lim(mel_spectrogram(tone[None], config), config)
    assert sound.shape == (1, RATE // 128 * 128)
    spectrum = torch.fft.rfft(sound[0, 1000:7000] * torch.hann_window(6000)).abs()
    assert abs(int(spectrum.argmax()) * RATE / 6000 - 440) < 20
    if compression != "db":  # which is clipped
        assert sound.std() == pytest.approx(float(tone.std()), rel=0.3)
    with pytest.raises(DataError, match="accepted is 'reflect'"):
        griffin_lim(torch.zeros(1, 60, 3), MelConfig(mels=60, padding="lws"))
