"""Training clips as they are drawn: augmented, some of them mixed with others, in padded batches.

Loading (`TrainingClips`, `collate_draws`) may go on in worker processes; `Augmenting` then changes
a batch on the training device. Everything drawn for a clip is a function of the seed and its
`Draw`, never of the batch it is in, of the process or of the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from wavenet.audio.effects import mix_between_classes, mixup
from wavenet.classifier.data.augment import Augmentation, Augmenter
from wavenet.classifier.data.dataset import Batch, ClipDataset, Draw, collate
from wavenet.classifier.data.seeding import seed_of


class DrawnClip(NamedTuple):
    """A clip as it was read (float32 (T,)), its class, and the seed of its augmentation.

    `frames` are (frames, classes): what is heard in each frame, where events are known.
    """

    waveform: Tensor
    label: int
    seed: int
    frames: Tensor | None = None


class Drawn(NamedTuple):
    """One visit of a clip, and which other clip it is to be mixed with, if any.

    `share` is this clip's part in the mixture; `between` is whether it is one between classes,
    else it is mixup.
    """

    clip: DrawnClip
    partner: DrawnClip | None = None
    share: float = 1.0
    between: bool = False


class DrawnBatch(NamedTuple):
    """Visits side by side: B clips, followed by the partners that they are mixed with.

    Attributes:
        clips: N >= B of them.
        seeds: int64 (N,), of their augmentation.
        partners: int64 (B,), the partner's row in `clips`; -1: none.
        shares: float64 (B,), see `Drawn`.
        between: bool (B,), see `Drawn`.
        frames: float32 (N, frames, classes), see `DrawnClip`; None: no events are known.
    """

    clips: Batch
    seeds: Tensor
    partners: Tensor
    shares: Tensor
    between: Tensor
    frames: Tensor | None = None


class TrainingClips(Dataset[Drawn]):
    """The training clips, asked for by a `Draw`.

    Args:
        clips: serves them, in training mode.
        augmentation: says which of them are mixed.
        frame_samples: of the model, where events are known; 0: they are not.
    """

    def __init__(
        self, clips: ClipDataset, augmentation: Augmentation, frame_samples: int = 0
    ) -> None:
        self.clips = clips
        self.frame_samples = frame_samples
        self.augmentation = augmentation
        self.targets = np.array(clips.targets)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> Drawn:
        """One visit of a clip.

        Raises:
            AudioError: the recording can't be read any more.
        """
        settings = self.augmentation
        clip = self._clip(draw)
        if not settings.mixes:
            return Drawn(clip)
        random = Random(seed_of(self.clips.seed, "mix", *draw))
        others = np.flatnonzero(self.targets != self.targets[draw.clip])
        between = len(others) > 0 and random.random() < settings.between_class_probability
        if between:
            share = random.random()
        elif settings.mixup_alpha and random.random() < settings.mixup_probability:
            share = random.betavariate(settings.mixup_alpha, settings.mixup_alpha)
            others = np.arange(len(self))
        else:
            return Drawn(clip)
        other = int(random.choice(others))
        # A visit of its own, which no sampler's is.
        return Drawn(
            clip, self._clip(Draw(other, draw.epoch, -1 - draw.clip)), share, bool(between)
        )

    def _clip(self, draw: Draw) -> DrawnClip:
        waveform, label = self.clips[draw]
        frames = self.clips.frames_of(draw, self.frame_samples) if self.frame_samples else None
        return DrawnClip(waveform, label, seed_of(self.clips.seed, "augment", *draw), frames)


def collate_draws(drawn: Sequence[Drawn]) -> DrawnBatch:
    """Pad visits and their partners at their ends to the longest of them; there may be none."""
    rows = [one.clip for one in drawn]
    partners = []
    for one in drawn:
        partners.append(-1 if one.partner is None else len(rows))
        if one.partner is not None:
            rows.append(one.partner)
    frames = [clip.frames for clip in rows if clip.frames is not None]
    return DrawnBatch(
        collate([(clip.waveform, clip.label) for clip in rows]),
        torch.tensor([clip.seed for clip in rows], dtype=torch.int64),
        torch.tensor(partners, dtype=torch.int64),
        torch.tensor([one.share for one in drawn], dtype=torch.float64),
        torch.tensor([one.between for one in drawn], dtype=torch.bool),
        pad_sequence(frames, batch_first=True) if frames else None,
    )


class Augmenting:
    """Makes a training batch of a drawn one, on a device.

    Args:
        augmenter: changes the clips.
        classes: how many there are.
        device: where the batch goes; the clips are changed there.
        tags: the dataset's, whose clips have several labels each.
    """

    def __init__(
        self,
        augmenter: Augmenter,
        classes: int,
        device: torch.device,
        tags: Tensor | None = None,
    ) -> None:
        self.augmenter = augmenter
        self.classes = classes
        self.tags = tags
        self.device = device
        self.idle = augmenter.settings == Augmentation()

    def __call__(self, drawn: DrawnBatch) -> Batch:
        """The changed and mixed clips; with `targets` of tags and where clips are mixed."""
        waveform = drawn.clips.waveform.to(self.device, non_blocking=True)
        labels = drawn.clips.labels
        if self.idle or not len(labels):
            lengths = drawn.clips.lengths
        else:
            before = drawn.clips.lengths.tolist()
            clips = [row[:length] for row, length in zip(waveform.unbind(), before, strict=True)]
            waveform, after = self.augmenter.batch(clips, drawn.seeds.tolist())
            if len(labels) > len(drawn.partners):
                waveform, after = self._mixed(waveform, after, drawn)
            lengths = torch.tensor(after)
        targets = None
        if self.augmenter.settings.mixes or self.tags is not None:
            targets = self._targets(drawn).to(self.device, non_blocking=True)
        own = labels[: len(drawn.partners)]
        loudest = (
            own if targets is None else torch.where(drawn.shares < 0.5, labels[drawn.partners], own)
        )
        lengths, loudest = (v.to(self.device, non_blocking=True) for v in (lengths, loudest))
        return Batch(waveform, lengths, loudest, targets)

    @staticmethod
    def _mixed(
        waveform: Tensor, lengths: Sequence[int], drawn: DrawnBatch
    ) -> tuple[Tensor, list[int]]:
        """The clips with their partners mixed in, without those."""
        clips = [row[:length] for row, length in zip(waveform.unbind(), lengths, strict=True)]
        mixing = zip(
            clips,
            drawn.partners.tolist(),
            drawn.shares.tolist(),
            drawn.between.tolist(),
            strict=False,
        )
        mixed = []
        for clip, partner, share, between in mixing:
            mix = mix_between_classes if between else mixup
            mixed.append(clip if partner < 0 else mix(clip, clips[partner], share))
        return pad_sequence(mixed, batch_first=True), [len(clip) for clip in mixed]

    def _targets(self, drawn: DrawnBatch) -> Tensor:
        """(B, classes): the share of each class, or of each tag whether it is in the mixture."""
        if drawn.frames is not None:
            others = drawn.frames[drawn.partners] * (drawn.partners >= 0).view(-1, 1, 1)
            return drawn.frames[: len(drawn.partners)].maximum(others)
        if self.tags is not None:
            own = self.tags[drawn.clips.labels[: len(drawn.partners)]]
            other = self.tags[drawn.clips.labels[drawn.partners]]
            return own.maximum(other * (drawn.partners >= 0).unsqueeze(1))
        labels, rows = drawn.clips.labels, torch.arange(len(drawn.partners))
        targets = torch.zeros(len(rows), self.classes, dtype=torch.float64)
        targets[rows, labels[rows]] = drawn.shares
        # Without a partner nothing is left over, wherever -1 points.
        targets[rows, labels[drawn.partners]] += 1 - drawn.shares
        return targets.float()
