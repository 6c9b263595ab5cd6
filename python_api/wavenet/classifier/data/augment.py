"""Random changes to training clips: which ones, how strong and how often, and their making."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavenet.audio import effects
from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.find import audio_files
from wavenet.errors import DataError

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

    def lengths(self, before: Sequence[int]) -> list[int]:
        """The most samples that clips of these lengths may have when they are learned from."""
        slowest = min(1.0, self.speed[0]) if self.speed and self.speed_probability else 1.0
        longest = [math.ceil(length / slowest) for length in before]
        return [max(longest)] * len(longest) if self.mixes and longest else longest

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that are not as usual."""
        usual = vars(Augmentation())
        return {name: value for name, value in vars(self).items() if value != usual[name]}

    @property
    def mixes(self) -> bool:
        """Whether clips may be mixed with others."""
        return self.between_class_probability > 0 or (
            self.mixup_alpha > 0 and self.mixup_probability > 0
        )


class _Noise(NamedTuple):
    """Noise to be added: white, pink, or an excerpt of a recording."""

    kind: str
    excerpt: NDArray[np.float32] | None
    snr_db: float


class _Drawn(NamedTuple):
    """A clip at its new length, and what else is to happen to it."""

    waveform: Tensor
    shift: int
    factor: float
    band: tuple[float | None, float | None] | None
    tilt_db: float
    noise: _Noise | None
    masks: list[tuple[int, int]]


class Augmenter:
    """Changes clips as an `Augmentation` says; the same clip and seed give the same result.

    What is drawn is drawn on the CPU, what is computed is computed where the waveforms are, of a
    whole batch at once where clips don't differ in what is done. (The noise itself is drawn there
    too: it differs between kinds of device.) No bit of a clip depends on the others beside it.

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
        return self.batch([waveform], [seed])[0][0]

    def batch(self, waveforms: Sequence[Tensor], seeds: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Change clips, at least one, each by its own seed: (B, T) padded by zeros, and lengths."""
        drawn = [self._draw(*clip) for clip in zip(waveforms, seeds, strict=True)]
        lengths = [one.waveform.shape[0] for one in drawn]
        batch = drawn[0].waveform.new_zeros(len(drawn), max(lengths))
        rows = [row[:length] for row, length in zip(batch.unbind(), lengths, strict=True)]
        for row, one in zip(rows, drawn, strict=True):
            effects.place(row, one.waveform, one.shift)
        if any(one.factor != 1 for one in drawn):
            batch *= _column(batch, [one.factor for one in drawn])
        for row, one in zip(rows, drawn, strict=True):
            if one.band is not None:
                row.copy_(effects.band_limit(row, self.sample_rate, *one.band))
            if one.tilt_db:
                row.copy_(effects.tilt(row, self.sample_rate, one.tilt_db))
        if any(one.noise is not None for one in drawn):
            self._add_noise(batch, rows, [one.noise for one in drawn], seeds)
        for row, one in zip(rows, drawn, strict=True):
            for start, length in one.masks:
                row[start : start + length] = 0
        return batch, lengths

    def _draw(self, waveform: Tensor, seed: int) -> _Drawn:
        s = self.settings
        random = Random(seed)  # made in a tenth of the time of NumPy's

        def chance(probability: float) -> bool:
            return probability > 0 and random.random() < probability

        def symmetric(limit: float) -> float:
            return random.uniform(-limit, limit)

        if s.crop and chance(s.crop_probability):
            waveform = effects.crop(waveform, random.uniform(*s.crop), random.random())
        if s.speed and chance(s.speed_probability):
            waveform = effects.change_speed(waveform, random.uniform(*s.speed))
        size = waveform.shape[0]
        shift, factor, band, tilt, noise, masks = 0, 1.0, None, 0.0, None, []
        if s.shift_ms and chance(s.shift_probability):
            shift = round(symmetric(min(s.shift_ms * self.sample_rate / 1000, size - 1)))
        if s.polarity and chance(s.polarity_probability):
            factor = -1.0
        if s.gain_db and chance(s.gain_probability):
            factor *= 10 ** (symmetric(s.gain_db) / 20)
        if (s.low_cut_hz or s.high_cut_hz) and chance(s.band_probability):
            low, high = (r and _octaves(random, *r) for r in (s.low_cut_hz, s.high_cut_hz))
            band = low, high
        if s.tilt_db and chance(s.tilt_probability):
            tilt = symmetric(s.tilt_db)
        if s.noise_snr_db and chance(s.noise_probability):
            kind, excerpt = self._draw_noise(random, size)
            noise = _Noise(kind, excerpt, random.uniform(*s.noise_snr_db))
        if s.mask_ms and chance(s.mask_probability):
            longest = min(s.mask_ms * self.sample_rate / 1000, size / 2)
            for _ in range(s.mask_count):
                length = round(random.uniform(0, longest))
                masks.append((random.randrange(size - length + 1), length))
        return _Drawn(waveform, shift, factor, band, tilt, noise, masks)

    def _draw_noise(self, random: Random, size: int) -> tuple[str, NDArray[np.float32] | None]:
        """The kind, and of recorded noise the excerpt."""
        kinds = [*self.settings.noise_kinds, *(["recorded"] if self.noises else [])]
        kind = random.choice(kinds)
        if kind != "recorded":
            return kind, None
        samples = self.cache.open(random.choice(self.noises))
        start = random.randrange(max(samples.size - size, 0) + 1)
        return kind, np.resize(samples[start : start + size], size)  # round it if it is short

    @staticmethod
    def _add_noise(
        batch: Tensor, rows: list[Tensor], drawn: Sequence[_Noise | None], seeds: Sequence[int]
    ) -> None:
        # float32 whatever the waveform is: the same noise then.
        noises = batch.new_zeros(batch.shape, dtype=torch.float32)
        within = [noise[: row.shape[0]] for noise, row in zip(noises.unbind(), rows, strict=True)]
        source = torch.Generator(batch.device)
        for noise, one, seed in zip(within, drawn, seeds, strict=True):
            if one is None:
                continue
            if one.excerpt is not None:
                noise.copy_(torch.from_numpy(one.excerpt))
                continue
            noise.normal_(generator=source.manual_seed(seed))
            if one.kind == "pink":
                noise.copy_(effects.pink(noise))
        # Each row's alone: a sum over padded rows would depend on how long the others are.
        levels, noise_levels = (torch.stack(torch._foreach_norm(v)) for v in (rows, within))
        ratios = [0.0 if one is None else 10 ** (-one.snr_db / 20) for one in drawn]
        scale = _column(batch, ratios) * effects.relative(levels, noise_levels).unsqueeze(1)
        batch += noises.to(batch) * scale


def _column(like: Tensor, values: list[float]) -> Tensor:
    """(B, 1)"""
    return torch.tensor(values, dtype=like.dtype).unsqueeze(1).to(like.device, non_blocking=True)


def _octaves(random: Random, low: float, high: float) -> float:
    """A frequency drawn evenly over octaves."""
    return math.exp(random.uniform(math.log(low), math.log(high)))
