"""How likely a generative model finds recordings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wavenet.classifier.data.cache import AudioCache
from wavenet.classifier.data.clips import Clip
from wavenet.classifier.data.parts import GenerationClips, PartBatch, collate_parts
from wavenet.classifier.inference.evaluate import MEMORY_GB, batches_of
from wavenet.classifier.memory import samples_within
from wavenet.generation.memory import training_bytes
from wavenet.generation.model import WaveNet
from wavenet.generation.waveglow import WaveGlow


class PartLoss(nn.Module):
    """Each part's mean loss a sample in nats: a `PartBatch` -> (B,) float32."""

    def __init__(self, model: WaveNet | WaveGlow) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: PartBatch) -> Tensor:
        if isinstance(self.model, WaveGlow):
            assert batch.mel is not None
            return self.model.losses(batch.waveform, batch.mel)
        speakers = batch.speakers if self.model.config.speakers else None
        each = self.model.nll(batch.waveform, batch.mel, speakers)
        t = torch.arange(each.shape[1], device=each.device)
        first = batch.skipped[:, None]
        learned = (t >= first) & (t < first + batch.samples[:, None])
        return each.masked_fill(~learned, 0.0).sum(1) / learned.sum(1).clamp_min(1)


class Likelihood(NamedTuple):
    """Of each clip: the sum of its samples' losses in nats, and how many samples, both (N,)."""

    nats: Tensor
    samples: Tensor

    @property
    def loss(self) -> float:
        """Nats a sample, every sample of all clips counting the same."""
        return float(self.nats.sum() / self.samples.sum())


@torch.no_grad()
def likelihood(
    model: WaveNet | WaveGlow,
    clips: Sequence[Clip],
    cache: AudioCache,
    *,
    batch_size: int = 32,
    max_samples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Likelihood:
    """How likely clips are.

    Args:
        model: on any device; its mode is left as it was.
        clips: a clip's label is its speaker, where the model has speakers.
        cache: reads the clips, at the model's sample rate.
        batch_size: clips at a time, fewer where they are long; of a WaveGlow, which hears padding,
            one.
        max_samples: of longer clips so much counts, in the middle; what comes before is heard, too.
        progress: called with (clips done, clips in all).
    """
    config, device = model.config, next(model.parameters()).device
    flow = isinstance(model, WaveGlow)
    context = 0 if flow else config.receptive_field
    parts = GenerationClips(clips, config, cache, crop=max_samples, context=context)
    room = samples_within(MEMORY_GB, functools.partial(training_bytes, config))
    loss_of = PartLoss(model)
    nats = torch.zeros(len(clips), dtype=torch.float64)
    samples = torch.zeros(len(clips), dtype=torch.int64)
    done = 0
    for indices in batches_of(parts.lengths(), 1 if flow else batch_size, room):
        batch = collate_parts([parts[index] for index in indices], config).to(device)
        counted = torch.full_like(batch.samples, batch.waveform.shape[1]) if flow else batch.samples
        nats[indices] = (loss_of(batch).double() * counted).cpu()
        samples[indices] = counted.cpu()
        done += len(indices)
        if progress is not None:
            progress(done, len(clips))
    return Likelihood(nats, samples)
