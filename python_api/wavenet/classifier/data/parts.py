"""Parts of recordings as a generative model learns them, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clips import Clip
from wavenet.classifier.data.dataset import Draw
from wavenet.classifier.data.seeding import generator
from wavenet.data.notes import Note, notes_of
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.recordings import channels_of, context_of, hear
from wavenet.generation.waveglow_config import WaveGlowConfig


class Part(NamedTuple):
    """A part of a recording.

    Attributes:
        waveform: float32 (T,), as the network hears it.
        mel: (M, F) with its context, or None.
        skipped: of the samples so many, the first ones, are heard only.
        samples: so many after them are learned; what follows is padding.
        speaker: its number, 0 of a model without speakers.
    """

    waveform: Tensor
    mel: Tensor | None
    skipped: int
    samples: int
    speaker: int


class PartBatch(NamedTuple):
    """Parts side by side: waveform (B, T), mel (B, M, F) or None, and (B,) of the rest."""

    waveform: Tensor
    mel: Tensor | None
    skipped: Tensor
    samples: Tensor
    speakers: Tensor

    def to(self, device: torch.device) -> PartBatch:
        """On a device."""
        moved = (t if t is None else t.to(device, non_blocking=True) for t in self)
        return PartBatch(*moved)  # type: ignore[arg-type]


def notes_in(clip: Clip, config: GeneratorConfig | WaveGlowConfig) -> tuple[Note, ...]:
    """A clip's events as the notes that the model is conditioned on; none of another model.

    Raises:
        DataError: an event that is no note of the model.
    """
    if not isinstance(config, GeneratorConfig) or config.notes is None:
        return ()
    return notes_of(clip.events or (), config.notes, clip.name)


class GenerationClips(Dataset[Part]):
    """Clips as parts, asked for by a `Draw`, or by an index: its first visit.

    In training a part is as often one that begins with the clip, or ends with it, as it would be if
    it could reach half its length beyond either end: starts are learned, too. Where a part begins
    and what it holds depend on (seed, draw) alone.

    Args:
        clips: what to serve.
        config: of the model.
        cache: reads the clips, at the model's sample rate.
        crop: samples that are learned at a time; None: all.
        context: samples before a part that are heard, too.
        training: parts at random, else the middle of clips longer than `crop`.
        seed: another seed gives other parts.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        config: GeneratorConfig | WaveGlowConfig,
        cache: AudioCache,
        *,
        crop: int | None,
        context: int = 0,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self.clips = list(clips)
        self.config = config
        self.cache = cache
        hop = config.hop
        self.crop = None if crop is None else max(1, round(crop / hop)) * hop
        self.context = -(-context // hop) * hop
        self.training = training
        self.seed = seed
        speakers = config.speakers if isinstance(config, GeneratorConfig) else ()
        self.speakers = {name: number for number, name in enumerate(speakers)}
        # Segments of a flow are equally long: it has no mask.
        self.padded = training and isinstance(config, WaveGlowConfig)

    @staticmethod
    def silence(config: GeneratorConfig | WaveGlowConfig, samples: int) -> Part:
        """A silent part of at least so many samples."""
        heard = hear(torch.zeros(samples), config)
        return Part(heard.waveform, heard.mel, 0, len(heard.waveform), 0)

    @property
    def targets(self) -> list[int]:
        """The speaker of each clip, 0 of a model without."""
        return [self.speakers.get(clip.label, 0) for clip in self.clips]

    def lengths(self) -> list[int]:
        """Samples of each clip's part, context included."""
        return [sum(self._longest(self.cache.open_clip(clip).size)) for clip in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int | Draw) -> Part:
        """One part.

        Raises:
            AudioError: the recording can't be read any more.
        """
        draw = index if isinstance(index, Draw) else Draw(index, 0)
        clip = self.clips[draw.clip]
        samples = self.cache.open_clip(clip)
        _, length = self._longest(samples.size)
        first = self._first(samples.size, length, draw)
        skipped = min(first, self.context)
        waveform = torch.from_numpy(samples.copy())  # the cache's are read-only
        notes = notes_in(clip, self.config)
        heard = hear(waveform, self.config, first - skipped, skipped + length, notes)
        there = length if self.padded else min(length, samples.size - first)
        return Part(heard.waveform, heard.mel, skipped, there, self.speakers.get(clip.label, 0))

    def _longest(self, samples: int) -> tuple[int, int]:
        """Context and length of a part of a clip of so many samples."""
        hop = self.config.hop
        whole = -(-samples // hop) * hop
        if self.crop is None or (whole <= self.crop and not self.padded):
            return 0, whole
        return (self.context if whole > self.crop else 0), self.crop

    def _first(self, samples: int, length: int, draw: Draw) -> int:
        hop = self.config.hop
        spare = max(0, -(-samples // hop) - length // hop)
        if not self.training or spare == 0:
            return spare // 2 * hop
        random = generator(self.seed, "part", draw.epoch, draw.clip, draw.repeat)
        beyond = length // hop // 2
        frame = int(torch.randint(-beyond, spare + beyond + 1, (), generator=random))
        return min(max(frame, 0), spare) * hop


def collate_parts(parts: Sequence[Part], config: GeneratorConfig | WaveGlowConfig) -> PartBatch:
    """Padded at their ends with silence, and copies of the last frame; there may be none."""
    hop, context = config.hop, context_of(config)
    time = max((len(part.waveform) for part in parts), default=hop)
    waveform = torch.zeros(len(parts), time)
    for row, part in zip(waveform, parts, strict=True):
        row[: len(part.waveform)] = part.waveform
    mel = None
    if channels := channels_of(config):
        frames = time // hop + 2 * context
        padded = [
            F.pad(part.mel[None], (0, frames - part.mel.shape[1]), mode="replicate")
            for part in parts
            if part.mel is not None
        ]
        mel = torch.cat(padded) if padded else torch.zeros(0, channels, frames)
    return PartBatch(
        waveform,
        mel,
        *(
            torch.tensor([getattr(part, name) for part in parts], dtype=torch.int64)
            for name in ("skipped", "samples", "speaker")
        ),
    )
