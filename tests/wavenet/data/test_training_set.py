from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wavenet.classifier.data import (
    AudioCache,
    Augmentation,
    Augmenter,
    Augmenting,
    Batch,
    ClipDataset,
    Draw,
    TrainingClips,
    collate_draws,
    find_clips,
)

EVERYTHING = Augmentation(
    gain_db=6,
    speed=(0.9, 1.1),
    noise_snr_db=(0, 20),
    between_class_probability=0.5,
    mixup_alpha=0.4,
    mixup_probability=0.5,
)
DRAWS = [Draw(clip, 3) for clip in (4, 0, 2, 1, 5, 3)]


def make(class_folder: Path, cache: AudioCache, settings: Augmentation, seed: int = 0):
    """batch_of(draws) as in training, and the data set."""
    clips = ClipDataset(find_clips(class_folder), ["low", "high"], cache, training=True, seed=seed)
    drawn = TrainingClips(clips, settings)
    augmenting = Augmenting(Augmenter(settings, cache), 2, torch.device("cpu"))
    return lambda draws: augmenting(collate_draws([drawn[draw] for draw in draws])), drawn


def equal(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None
    )


def test_a_clip_is_the_same_in_every_batch(class_folder: Path, cache: AudioCache) -> None:
    """So processes and parts may share a batch in any way."""
    batch_of, _ = make(class_folder, cache, EVERYTHING)
    whole = batch_of(DRAWS)
    assert equal(whole, batch_of(DRAWS))
    for row, draw in enumerate(DRAWS):
        alone = batch_of([draw])
        length = int(alone.lengths)
        assert torch.equal(whole.waveform[row, :length], alone.waveform[0])
        assert not whole.waveform[row, length:].any()
        assert torch.equal(whole.targets[row], alone.targets[0])
        assert whole.labels[row] == alone.labels[0] == alone.targets[0].argmax()
    again, _ = make(class_folder, cache, EVERYTHING, seed=1)
    assert not equal(whole, again(DRAWS))
    assert not torch.equal(batch_of([Draw(0, 1)]).waveform, batch_of([Draw(0, 2)]).waveform)


def test_nothing_changes_nothing(class_folder: Path, cache: AudioCache) -> None:
    batch_of, drawn = make(class_folder, cache, Augmentation())
    batch = batch_of(DRAWS)
    assert batch.targets is None
    for row, draw in enumerate(DRAWS):
        waveform, label = drawn.clips[draw]
        assert torch.equal(batch.waveform[row, : len(waveform)], waveform)
        assert batch.labels[row] == label and batch.lengths[row] == len(waveform)


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (Augmentation(between_class_probability=0.4), (0.6, 0.4, 0.0)),
        (Augmentation(mixup_alpha=0.5, mixup_probability=0.3), (0.7, 0.0, 0.3)),
        (Augmentation(between_class_probability=1, mixup_alpha=1), (0.0, 1.0, 0.0)),
    ],
)
def test_how_often_clips_are_mixed(class_folder, cache, settings, kinds) -> None:
    _, drawn = make(class_folder, cache, settings)
    counts = [0, 0, 0]
    for epoch in range(50):
        for clip in range(6):
            one = drawn[Draw(clip, epoch)]
            counts[0 if one.partner is None else 1 if one.between else 2] += 1
            if one.between:
                assert one.partner is not None and one.partner.label != one.clip.label
    assert [count / 300 for count in counts] == pytest.approx(kinds, abs=0.1)


def test_shares_are_those_of_the_targets(class_folder: Path, cache: AudioCache) -> None:
    settings = Augmentation(between_class_probability=1)
    batch_of, drawn = make(class_folder, cache, settings)
    targets = batch_of(DRAWS).targets
    assert targets is not None and torch.allclose(targets.sum(1), torch.ones(6))
    for row, draw in enumerate(DRAWS):
        one = drawn[draw]
        assert float(targets[row, one.clip.label]) == pytest.approx(one.share)


@pytest.mark.parametrize("settings", [Augmentation(), EVERYTHING])
def test_a_share_without_clips(class_folder: Path, cache: AudioCache, settings) -> None:
    batch_of, _ = make(class_folder, cache, settings)
    batch = batch_of([])
    assert batch.waveform.shape == (0, 1) and batch.labels.shape == (0,)
    assert batch.targets is None or batch.targets.shape == (0, 2)
