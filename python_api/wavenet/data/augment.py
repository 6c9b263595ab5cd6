"""Random changes to training clips: which ones, how strong and how often, and their making."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from wavenet.data import effects
from wavenet.data.cache import AudioCache
from wavenet.data.errors import DataError
from wavenet.data.find import audio_files

NOISE_KINDS = ("white", "pink")
# A level of 200 dB more or less is beyond float32's precision; thousands are beyond its range.
MOST_DB = 200


@dataclass(frozen=True)
class Augmentation:
    """How strong each change is, drawn anew for every clip, and its probability. By default: none.

    Attributes:
        crop: (least, most) share of the clip that is kept, at a random place.
        speed: (slowest, fastest), 1 being as recorded; pitch and tempo change alike.
        shift_ms: shift in time, uniform within +-shift_ms milliseconds and within the clip's
            length; samples pushed out are lost, the gap is zeros.
        polarity: flip the sign.
        gain_db: gain, uniform within +-gain_db decibels. The result isn't clipped to [-1, 1].
        low_cut_hz, high_cut_hz: (lowest, highest) corner, drawn evenly over octaves, below and
            above which a filter of 24 dB an octave takes away; each is optional.
        tilt_db: spectral tilt, uniform within +-tilt_db decibels an octave, at the same level:
            microphones and voices differ so.
        noise_snr_db: (lowest, highest) signal-to-noise ratio in decibels of added noise, relative
            to the clip's mean power.
        noise_kinds: "white", "pink" or both, of which one is drawn.
        noise_folder: a folder of recordings, excerpts of which are one more kind.
        mask_ms, mask_count: so many stretches are silenced, each of up to mask_ms milliseconds
            and of up to half the clip.
        between_class_probability: mix with a clip of another class in a uniform share, by level as
            heard; the label is shared out likewise (arXiv 1711.10282).
        mixup_alpha, mixup_probability: of those left, mix with any clip in a share from
            Beta(alpha, alpha) (arXiv 1710.09412).

    A probability without its strength does nothing, and the other way round.

    Raises:
        DataError: a value is out of range or a range reversed.
    """

    crop: tuple[float, float] | None = None
    crop_probability: float = 1.0
    speed: tuple[float, float] | None = None
    speed_probability: float = 1.0
    shift_ms: float = 0.0
    shift_probability: float = 1.0
    polarity: bool = False
    polarity_probability: float = 0.5
    gain_db: float = 0.0
    gain_probability: float = 1.0
    low_cut_hz: tuple[float, float] | None = None
    high_cut_hz: tuple[float, float] | None = None
    band_probability: float = 1.0
    tilt_db: float = 0.0
    tilt_probability: float = 1.0
    noise_snr_db: tuple[float, float] | None = None
    noise_kinds: tuple[str, ...] = ("white",)
    noise_folder: str = ""
    noise_probability: float = 1.0
    mask_ms: float = 0.0
    mask_count: int = 1
    mask_probability: float = 1.0
    between_class_probability: float = 0.0
    mixup_alpha: float = 0.0
    mixup_probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gain_db", "shift_ms", "tilt_db", "mask_ms", "mixup_alpha"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"{name} is {value}; a finite number >= 0 is accepted")
            if name.endswith("_db") and value > MOST_DB:
                raise DataError(f"{name} is {value}; a number from 0 to {MOST_DB} is accepted")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_probability") and not 0 <= value <= 1:
                raise DataError(f"{field.name} is {value}; a number from 0 to 1 is accepted")
        if self.mask_count < 1:
            raise DataError(f"mask_count is {self.mask_count}; 1 or more is accepted")
        self._check_range("crop", "(least, most) above 0, up to 1", above=0, most=1)
        self._check_range("speed", "(slowest, fastest) from 0.25 to 4", above=0.249, most=4)
        self._check_range("low_cut_hz", "(lowest, highest) in Hz", above=0)
        self._check_range("high_cut_hz", "(lowest, highest) in Hz", above=0)
        within = f"(lowest, highest) in dB from -{MOST_DB} to {MOST_DB}"
        self._check_range("noise_snr_db", within, above=-MOST_DB - 1e-9, most=MOST_DB)
        kinds = self.noise_kinds
        if not isinstance(kinds, (tuple, list)) or any(kind not in NOISE_KINDS for kind in kinds):
            raise DataError(f"noise_kinds is {kinds}; a list of {NOISE_KINDS} is accepted")
        object.__setattr__(self, "noise_kinds", tuple(kinds))
        if self.noise_snr_db and not kinds and not self.noise_folder:
            raise DataError("noise_kinds is empty; without a noise_folder it needs at least one")
        if self.noise_folder and self.noise_snr_db is None:
            raise DataError("noise_folder needs noise_snr_db, (lowest, highest) in dB")

    def _check_range(
        self, name: str, accepted: str, above: float = -math.inf, most: float = math.inf
    ) -> None:
        given = getattr(self, name)
        if given is None:
            return
        pair = tuple(given) if isinstance(given, (tuple, list)) else ()  # YAML gives a list
        numbers = all(isinstance(v, (int, float)) and math.isfinite(v) for v in pair)
        if len(pair) != 2 or not numbers or not above < pair[0] <= pair[1] <= most:
            raise DataError(f"{name} is {given}; {accepted} or None is accepted")
        object.__setattr__(self, name, pair)

    @property
    def mixes(self) -> bool:
        """Whether clips may be mixed with others."""
        return self.between_class_probability > 0 or (
            self.mixup_alpha > 0 and self.mixup_probability > 0
        )


class Augmenter:
    """Changes single clips as an `Augmentation` says; the same clip and seed give the same result.

    What is drawn is drawn on the CPU, what is computed is computed where the waveform is. (The
    noise itself is drawn there too: it differs between kinds of device.)

    Args:
        settings: which changes, how strong and how often.
        cache: its sample rate is the clips'; reads the recordings of `settings.noise_folder`.

    Raises:
        DataError: a noise folder without recordings, or one in it that can't be read.
    """

    def __init__(self, settings: Augmentation, cache: AudioCache) -> None:
        self.settings = settings
        self.sample_rate = cache.sample_rate
        self.cache = cache
        self.noises: list[Path] = []
        if settings.noise_folder:
            folder = Path(settings.noise_folder)
            self.noises = list(audio_files(folder)) if folder.is_dir() else []
            if not self.noises:
                raise DataError(f"noise_folder {folder}: is no folder that holds recordings")
            for path in self.noises:
                cache.open(path)  # rather now than an hour later

    def __call__(self, waveform: Tensor, seed: int) -> Tensor:
        """Change a clip.

        Args:
            waveform: floating point (T,), T from 1; left as it is.
            seed: of all that is drawn, 0 or more.

        Returns:
            (T',) of the same dtype; cropping and another speed change the length.
        """
        s = self.settings
        random = np.random.default_rng(seed)

        def chance(probability: float) -> bool:
            return probability > 0 and random.random() < probability

        def symmetric(limit: float) -> float:
            return float(random.uniform(-limit, limit))

        if s.crop and chance(s.crop_probability):
            waveform = effects.crop(waveform, random.uniform(*s.crop), random.random())
        if s.speed and chance(s.speed_probability):
            waveform = effects.change_speed(waveform, random.uniform(*s.speed))
        if s.shift_ms and chance(s.shift_probability):
            limit = min(s.shift_ms * self.sample_rate / 1000, len(waveform) - 1)
            waveform = effects.shift(waveform, round(symmetric(limit)))
        if s.polarity and chance(s.polarity_probability):
            waveform = -waveform
        if s.gain_db and chance(s.gain_probability):
            waveform = waveform * 10 ** (symmetric(s.gain_db) / 20)
        if (s.low_cut_hz or s.high_cut_hz) and chance(s.band_probability):
            low, high = (r and _octaves(random, *r) for r in (s.low_cut_hz, s.high_cut_hz))
            waveform = effects.band_limit(waveform, self.sample_rate, low, high)
        if s.tilt_db and chance(s.tilt_probability):
            waveform = effects.tilt(waveform, self.sample_rate, symmetric(s.tilt_db))
        if s.noise_snr_db and chance(s.noise_probability):
            noise = self._noise(waveform, random, seed)
            waveform = effects.add_noise(waveform, noise, random.uniform(*s.noise_snr_db))
        if s.mask_ms and chance(s.mask_probability):
            longest = min(s.mask_ms * self.sample_rate / 1000, len(waveform) / 2)
            for _ in range(s.mask_count):
                length = round(random.uniform(0, longest))
                start = int(random.integers(len(waveform) - length + 1))
                waveform = effects.silence(waveform, start, length)
        return waveform

    def _noise(self, waveform: Tensor, random: Generator, seed: int) -> Tensor:
        kinds = [*self.settings.noise_kinds, *(["recorded"] if self.noises else [])]
        kind = kinds[random.integers(len(kinds))]
        size = len(waveform)
        if kind == "recorded":
            samples = self.cache.open(self.noises[random.integers(len(self.noises))])
            start = random.integers(max(samples.size - size, 0) + 1)
            excerpt = np.resize(samples[start : start + size], size)  # again and again if too short
            return torch.from_numpy(excerpt).to(waveform)
        source = torch.Generator(waveform.device).manual_seed(seed)
        # float32 whatever the waveform is: the same noise then.
        white = torch.randn(size, generator=source, device=waveform.device, dtype=torch.float32)
        return (effects.pink(white) if kind == "pink" else white).to(waveform)


def _octaves(random: Generator, low: float, high: float) -> float:
    """A frequency drawn evenly over octaves."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
