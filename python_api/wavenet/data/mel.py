"""Mel-spectrograms with a description that travels with the model that was trained on them.

The filterbank is Slaney's (Auditory Toolbox, 1998), as librosa and the vocoders of others use it:
triangles of equal area over magnitudes, not powers. Sound made from features of another
description is noise or another voice, so a description is compared before features are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from wavenet.errors import (
    DataError,
    is_number,
    is_whole,
    of_fields,
    plain,
    require_field,
    require_tensor,
)

COMPRESSIONS = ("ln", "log10", "db")
PADDINGS = ("reflect", "lws")


@dataclass(frozen=True)
class MelConfig:
    """Everything that decides what a mel-spectrogram's numbers mean.

    Attributes:
        sample_rate: of the waveform, in Hz.
        n_fft: points of the Fourier transform.
        hop: samples between frames.
        window: samples of the Hann window; shorter than n_fft, it stands in the middle.
        mels: M, channels.
        low_hz, high_hz: edges of the first and of the last triangle.
        compression: of what is at least `floor`: "ln", "log10", or "db", which is 20 log10(x) - 20
            brought from -100 .. 0 to 0 .. 1.
        floor: the smallest magnitude.
        padding: "reflect": frame f is centred on sample f hop, ends are mirrored, and T samples
            give 1 + T // hop frames. "lws": n_fft - hop zeros before and after, frames not centred,
            and the window of the package lws.
        mean, std: of each channel, if features are normalised by those of a training set.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    hop: int = 256
    window: int = 1024
    mels: int = 80
    low_hz: float = 125.0
    high_hz: float = 7600.0
    compression: str = "log10"
    floor: float = 1e-10
    padding: str = "reflect"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop", "window", "mels"):
            value = getattr(self, name)
            require_field(is_whole(value, 1), self, name, "an int from 1")
        require_field(self.window <= self.n_fft, self, "window", f"at most n_fft = {self.n_fft}")
        for name in ("low_hz", "high_hz", "floor"):
            object.__setattr__(self, name, plain(getattr(self, name)))
            require_field(is_number(getattr(self, name)), self, name, "a number")
        require_field(0 <= self.low_hz < self.high_hz, self, "low_hz", "from 0, below high_hz")
        nyquist = self.sample_rate / 2
        require_field(
            self.high_hz <= nyquist, self, "high_hz", f"at most half the rate, {nyquist:g} Hz"
        )
        require_field(
            self.compression in COMPRESSIONS, self, "compression", f"one of {COMPRESSIONS}"
        )
        require_field(self.padding in PADDINGS, self, "padding", f"one of {PADDINGS}")
        require_field(self.floor > 0, self, "floor", "more than 0")
        both = (self.mean is None) == (self.std is None)
        require_field(both, self, "std", "given with mean, or neither")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None:  # JSON has lists only
                try:
                    numbers = tuple(map(float, values))
                except (TypeError, ValueError):
                    numbers = ()
                require_field(len(numbers) == self.mels, self, name, f"{self.mels} numbers")
                object.__setattr__(self, name, numbers)
        if self.mean is not None and self.std is not None:
            require_field(min(self.std) > 0, self, "std", "more than 0 in each channel")

    @classmethod
    def tacotron2(cls, sample_rate: int = 22050, **others: Any) -> MelConfig:
        """What Tacotron 2, WaveGlow and HiFi-GAN take: 0-8,000 Hz, natural logarithm."""
        usual = {"low_hz": 0.0, "high_hz": 8000.0, "compression": "ln", "floor": 1e-5}
        return cls(**{"sample_rate": sample_rate, **usual, **others})

    @classmethod
    def vocoder(cls, sample_rate: int = 22050, **others: Any) -> MelConfig:
        """What wavenet_vocoder and ESPnet take: 125-7,600 Hz, log10; they normalise, too."""
        return cls(**{"sample_rate": sample_rate, **others})

    def frames(self, samples: int) -> int:
        """F of so many samples."""
        if self.padding == "reflect":
            return 1 + samples // self.hop
        return 1 + max(0, samples + self.n_fft - 2 * self.hop) // self.hop

    def as_dict(self) -> dict[str, Any]:
        """Its fields, as a JSON file beside features holds them."""
        return asdict(self)

    def check_same(self, other: MelConfig | Mapping[str, Any], what: str) -> None:
        """Raise DataError, naming the fields, where features were made by another description.

        Raises:
            ValueError: it is no description.
        """
        other = of_fields(MelConfig, other, "it")
        if not isinstance(other, MelConfig):
            raise ValueError(f"it is a {type(other).__name__}; accepted are the fields of one")
        different = [
            f"{field.name} {_shown(getattr(other, field.name))} instead of "
            f"{_shown(getattr(self, field.name))}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]
        if different:
            raise DataError(
                f"{what}: its mel-spectrograms are not the model's: {'; '.join(different)}; make "
                "them with the model's own front-end"
            )


def mel_spectrogram(waveform: Tensor, config: MelConfig) -> Tensor:
    """Compressed mel magnitudes, differentiable, on the waveform's device.

    Args:
        waveform: (B, T) float, T from 1, in [-1, 1] at config.sample_rate.
        config: the description.

    Returns:
        (B, M, F), F = config.frames(T), float32, or float64 of a float64 waveform.

    Raises:
        DataError: the waveform is not (B, T), or not floating point.
    """
    require_tensor("waveform", waveform, "(B, T)")
    if waveform.dim() != 2 or waveform.shape[1] < 1:
        raise DataError(
            f"waveform has shape {tuple(waveform.shape)}; accepted is (B, T) with T from 1"
        )
    if not waveform.is_floating_point():
        raise DataError(f"waveform is {waveform.dtype}; floating-point samples are accepted")
    if waveform.shape[0] == 0:
        frames = config.frames(waveform.shape[1])
        wide = torch.promote_types(waveform.dtype, torch.float32)
        return waveform.new_zeros(0, config.mels, frames, dtype=wide)
    with torch.autocast(waveform.device.type, enabled=False):
        x = waveform if waveform.dtype == torch.float64 else waveform.float()
        spectrum = torch.stft(
            _padded(x, config),
            config.n_fft,
            config.hop,
            config.window,
            _window(config).to(x),
            center=False,
            return_complex=True,
        )
        bank = mel_filterbank(
            config.sample_rate, config.n_fft, config.mels, config.low_hz, config.high_hz
        )
        return _normalized(_compressed(bank.to(x) @ spectrum.abs(), config), config)


def mel_magnitudes(mel: Tensor, config: MelConfig) -> Tensor:
    """Of each mel channel (B, M, F), what was compressed and normalised, without their floor."""
    if config.mean is not None and config.std is not None:
        mean, std = (
            torch.tensor(values, dtype=torch.float64).to(mel)[:, None]
            for values in (config.mean, config.std)
        )
        mel = mel * std + mean
    if config.compression == "ln":
        return mel.exp()
    return 10.0 ** (mel if config.compression == "log10" else 5.0 * mel - 4.0)


@lru_cache(maxsize=16)
def mel_filterbank(
    sample_rate: int, n_fft: int, mels: int, low_hz: float, high_hz: float
) -> Tensor:
    """Slaney's triangles of equal area: (M, n_fft / 2 + 1) float64."""
    low, high = _mel_of(low_hz), _mel_of(high_hz)
    edges = torch.tensor(
        [_hz_of(low + (high - low) * i / (mels + 1)) for i in range(mels + 2)], dtype=torch.float64
    )
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    return torch.minimum(rising, falling).clamp_min(0.0) * (2.0 / (upper - lower))


def _mel_of(hz: float) -> float:
    return 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4) if hz >= 1000.0 else 3.0 * hz / 200.0


def _hz_of(mel: float) -> float:
    return 1000.0 * 6.4 ** ((mel - 15.0) / 27.0) if mel >= 15.0 else 200.0 * mel / 3.0


def _window(config: MelConfig) -> Tensor:
    n = torch.arange(config.window, dtype=torch.float64)
    if config.padding == "reflect":
        return 0.5 - 0.5 * torch.cos(2.0 * math.pi * n / config.window)
    hann = 0.5 - 0.5 * torch.cos(2.0 * math.pi * (n + 0.5) / config.window)
    return (hann * 2.0 * config.hop / config.window).sqrt()


def _padded(x: Tensor, config: MelConfig) -> Tensor:
    if config.padding == "lws":
        beside = config.n_fft - config.hop
        whole = config.n_fft + (config.frames(x.shape[1]) - 1) * config.hop
        after = max(beside, whole - beside - x.shape[1])
        return torch.nn.functional.pad(x, (beside, after))
    # Mirrored as often as it takes: a clip may be shorter than half a window.
    time = x.shape[1]
    half, period = config.n_fft // 2, max(1, 2 * (time - 1))
    where = torch.arange(-half, time + half, device=x.device) % period
    return x[:, torch.minimum(where, period - where) if time > 1 else where]


def _compressed(magnitude: Tensor, config: MelConfig) -> Tensor:
    audible = magnitude.clamp_min(config.floor)
    if config.compression == "ln":
        return audible.log()
    if config.compression == "log10":
        return audible.log10()
    return ((20.0 * audible.log10() - 20.0 + 100.0) / 100.0).clamp(0.0, 1.0)


def _normalized(mel: Tensor, config: MelConfig) -> Tensor:
    if config.mean is None or config.std is None:
        return mel
    mean, std = (
        torch.tensor(values, dtype=torch.float64).to(mel)[:, None]
        for values in (config.mean, config.std)
    )
    return (mel - mean) / std


def _shown(value: object) -> str:
    return "other numbers" if isinstance(value, tuple) else repr(value)
