"""Distances between recordings, the baseline of vocoders, and sound brought nearer to its mel."""

from __future__ import annotations

import math

import pytest
import torch

from wavenet.data.griffin_lim import griffin_lim, refine
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


def speech_like(samples: int = RATE) -> torch.Tensor:
    """Harmonics of 110 Hz under a moving level."""
    time = torch.arange(samples) / RATE
    tone = sum(torch.sin(2 * math.pi * 110 * n * time + n) / n for n in range(1, 30))
    return 0.1 * tone * (0.55 + 0.45 * torch.sin(2 * math.pi * 3 * time))


CENTRED = MelConfig(
    **{"sample_rate": RATE, "n_fft": 256, "hop": 64, "window": 256, "mels": 40},
    **{"low_hz": 50.0, "high_hz": 3900.0, "floor": 1e-5},
)


def test_refined_sound_has_its_frames_levels_and_keeps_its_own_phases():
    real = speech_like()
    mel = mel_spectrogram(real[None], CENTRED)
    other = 2.0 * real + noise(len(real), 1)
    made = refine(other[None], mel, CENTRED)
    assert made.shape == (1, len(real)) and made.dtype == torch.float32
    before, after = (mel_spectrogram(x[None], CENTRED) - mel for x in (other, made[0]))
    assert after.abs().mean() < before.abs().mean() / 3
    # Phases from nowhere don't come near the waveform; these were near it.
    apart = (made[0] - real).norm() / real.norm()
    assert apart < 0.35
    assert (griffin_lim(mel, CENTRED)[0, : len(real)] - real).norm() / real.norm() > 1
    assert torch.equal(refine(other[None], mel, CENTRED, 0)[0], other)


@pytest.mark.parametrize("samples", [129, 1000, 1024])
def test_refined_are_sounds_of_any_length_and_of_fewer_frames(samples):
    mel = mel_spectrogram(speech_like(1024)[None], CENTRED)[:, :, :9].expand(2, -1, -1)
    made = refine(torch.stack((noise(samples), torch.zeros(samples))), mel, CENTRED, 3)
    assert made.shape == (2, samples) and made.isfinite().all()


@pytest.mark.parametrize(
    "sound, mel, iterations, says",
    [
        (torch.zeros(1, 128), torch.zeros(1, 40, 3), 1, r"sound has shape \(1, 128\).*from 129"),
        (
            torch.zeros(1, 900),
            torch.zeros(40, 3),
            1,
            r"shape \(40, 3\); accepted is \(1, 40",
        ),
        (torch.zeros(1, 900), torch.zeros(3, 40, 3), 1, r"shape \(3, 40, 3\); accepted is \(1, 40"),
        (torch.zeros(1, 900), torch.zeros(1, 40, 0), 1, "F from 1"),
        (torch.zeros(1, 900), None, 1, "mel is a NoneType; accepted is a tensor"),
        (torch.zeros(1, 900, dtype=torch.int64), torch.zeros(1, 40, 3), 1, "sound is torch.int64"),
        (torch.zeros(1, 900), torch.full((1, 40, 3), math.nan), 1, "mel holds values that aren't"),
        (torch.zeros(1, 900), torch.zeros(1, 40, 3), -1, "iterations is -1; accepted is an int"),
    ],
)
def test_refining_says_what_is_wrong(sound, mel, iterations, says):
    with pytest.raises(DataError, match=says):
        refine(sound, mel, CENTRED, iterations)


def test_refining_refuses_frames_that_are_not_centred():
    with pytest.raises(DataError, match="accepted is 'reflect'"):
        refine(torch.zeros(1, 900), torch.zeros(1, 60, 3), MelConfig(mels=60, padding="lws"))
