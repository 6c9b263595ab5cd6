"""How much two recordings of the same words differ: distances between spectra, and what PESQ and
STOI say where their packages are installed.
"""

from __future__ import annotations

import importlib
import math

import torch
from torch import Tensor

from wavenet.data.mel import mel_filterbank

N_FFT, HOP_SECONDS = 512, 0.005
FLOOR = 1e-5
BANDS, CEPSTRA = 40, 13
# Rates that PESQ's two standards are made for.
NARROW_HZ, WIDE_HZ = 8000, 16000


def compare(made: Tensor, real: Tensor, sample_rate: int) -> dict[str, float]:
    """Figures of (T,) sound made like (T,) real sound; of unequal lengths the shorter counts.

    Returns:
        "log_spectral_distance_db", "mel_cepstral_distortion_db" and, where the packages pesq and
        pystoi are installed and can judge such clips, "pesq" and "stoi".
    """
    length = min(len(made), len(real))
    made, real = made[:length].double().cpu(), real[:length].double().cpu()
    figures = {
        "log_spectral_distance_db": log_spectral_distance(made, real, sample_rate),
        "mel_cepstral_distortion_db": mel_cepstral_distortion(made, real, sample_rate),
    }
    for name, judge in (("pesq", _pesq), ("stoi", _stoi)):
        value = judge(made, real, sample_rate)
        if value is not None and math.isfinite(value):
            figures[name] = value
    return figures


def log_spectral_distance(made: Tensor, real: Tensor, sample_rate: int) -> float:
    """Root mean square of the levels' differences in decibels over frequencies, a mean of frames.

    Magnitudes below -100 dB of full scale count as that.
    """
    a, b = (_magnitudes(wave, sample_rate).clamp_min(FLOOR).log10() for wave in (made, real))
    return float((20 * (a - b)).square().mean(0).sqrt().mean())


def mel_cepstral_distortion(made: Tensor, real: Tensor, sample_rate: int) -> float:
    """Kubichek's distance in decibels, of 13 cepstra of 40 mel bands without the level, no warping.

    Source: R. Kubichek, "Mel-cepstral distance measure for objective speech quality assessment",
    IEEE Pacific Rim Conference 1993.
    """
    bank = mel_filterbank(sample_rate, N_FFT, BANDS, 0.0, sample_rate / 2)
    k, m = torch.arange(1, CEPSTRA + 1), torch.arange(BANDS) + 0.5
    cosines = (math.pi / BANDS * k[:, None] * m).double().cos() * math.sqrt(2 / BANDS)
    a, b = (
        cosines @ (bank @ _magnitudes(wave, sample_rate)).clamp_min(FLOOR).log()
        for wave in (made, real)
    )
    scale = 10 / math.log(10) * math.sqrt(2)
    return float(scale * (a - b).square().sum(0).sqrt().mean())


def _magnitudes(wave: Tensor, sample_rate: int) -> Tensor:
    window = torch.hann_window(N_FFT, dtype=wave.dtype)
    return torch.stft(
        wave,
        N_FFT,
        max(1, round(HOP_SECONDS * sample_rate)),
        window=window / window.sum(),
        pad_mode="constant",
        return_complex=True,
    ).abs()


def _pesq(made: Tensor, real: Tensor, sample_rate: int) -> float | None:
    try:
        package = importlib.import_module("pesq")
    except ImportError:
        return None
    rate = NARROW_HZ if sample_rate < WIDE_HZ else WIDE_HZ
    waves = [_at(wave, sample_rate, rate).numpy() for wave in (real, made)]
    try:
        value: float = package.pesq(rate, *waves, "nb" if rate == NARROW_HZ else "wb")
    except Exception:  # too short, or no speech found in it
        return None
    return value


def _stoi(made: Tensor, real: Tensor, sample_rate: int) -> float | None:
    try:
        package = importlib.import_module("pystoi")
    except ImportError:
        return None
    # Of less than 30 frames of speech pystoi warns, and gives 1e-5.
    value = float(package.stoi(real.numpy(), made.numpy(), sample_rate))
    return value if value > 1e-4 else None


def _at(wave: Tensor, sample_rate: int, rate: int) -> Tensor:
    if sample_rate == rate:
        return wave
    from wavenet.audio.reading import soxr

    resampled: Tensor = torch.from_numpy(soxr().resample(wave.numpy(), sample_rate, rate))
    return resampled
