from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from wavenet.audio import read_audio
from wavenet.classifier.data import (
    AudioCache,
    Batch,
    Clip,
    ClipDataset,
    Draw,
    EpochBatchSampler,
    collate,
    find_clips,
)
from wavenet.errors import AudioError, DataError

RATE = 8000
WriteClip = Callable[..., Path]


@pytest.fixture
def clips(class_folder: Path) -> list[Clip]:
    return find_clips(class_folder)


def test_items(clips: list[Clip], cache: AudioCache) -> None:
    dataset = ClipDataset(clips, ["low", "high"], cache)
    assert len(dataset) == 6
    assert dataset.targets == [1, 1, 1, 0, 0, 0]
    assert dataset.lengths() == [400, 800, 1200] * 2
    for index, clip in enumerate(clips):
        waveform, label = dataset[index]
        assert waveform.dtype == torch.float32
        assert torch.equal(waveform, read_audio(clip.path, RATE))
        assert label == dataset.targets[index] and isinstance(label, int)
    with pytest.raises(IndexError):
        dataset[6]


def test_an_item_is_the_callers_own(clips: list[Clip], cache: AudioCache) -> None:
    dataset = ClipDataset(clips, ["low", "high"], cache)
    dataset[0][0].zero_()
    assert dataset[0][0].any()


def test_centre_crop_in_evaluation(clips: list[Clip], cache: AudioCache) -> None:
    dataset = ClipDataset(clips, ["low", "high"], cache, max_samples=1000)
    assert dataset.lengths() == [400, 800, 1000] * 2
    assert torch.equal(dataset[2][0], read_audio(clips[2].path, RATE)[100:1100])
    assert torch.equal(dataset[Draw(2, 5, 3)][0], dataset[2][0])


def test_random_crop_in_training(clips: list[Clip], cache: AudioCache) -> None:
    dataset = ClipDataset(clips, ["low", "high"], cache, training=True, max_samples=1195)
    whole = read_audio(clips[2].path, RATE)
    pieces = [whole[start : start + 1195] for start in range(6)]
    starts = set()
    for epoch in range(60):
        crop = dataset[Draw(2, epoch)][0]
        starts |= {start for start, piece in enumerate(pieces) if torch.equal(crop, piece)}
    assert starts == set(range(6))
    assert torch.equal(dataset[0][0], read_audio(clips[0].path, RATE))


def test_randomness_is_a_function_of_seed_epoch_clip_and_repeat(
    clips: list[Clip], cache: AudioCache
) -> None:
    def item(seed: int, epoch: int, clip: int, repeat: int) -> torch.Tensor:
        dataset = ClipDataset(
            clips, ["low", "high"], cache, training=True, max_samples=100, seed=seed
        )
        return dataset[Draw(clip, epoch, repeat)][0]

    first = item(0, 0, 0, 0)
    assert torch.equal(first, item(0, 0, 0, 0))
    for other in (item(1, 0, 0, 0), item(0, 1, 0, 0), item(0, 0, 0, 1)):
        assert not torch.equal(first, other)


def test_a_plain_index_is_the_first_visit(clips: list[Clip], cache: AudioCache) -> None:
    dataset = ClipDataset(clips, ["low", "high"], cache, training=True, max_samples=100)
    assert torch.equal(dataset[1][0], dataset[Draw(1, 0)][0])
    assert not torch.equal(dataset[1][0], dataset[Draw(1, 1)][0])


def epochs(
    clips: list[Clip], cache: AudioCache, workers: int, context: str | None, persistent: bool
) -> list[Batch]:
    """All batches of two epochs, with draws from the sampler; then twice with plain indices."""
    dataset = ClipDataset(clips, ["low", "high"], cache, training=True, max_samples=300, seed=5)
    sampler = EpochBatchSampler(dataset.targets, 4, seed=5)
    options = {
        "collate_fn": collate,
        "num_workers": workers,
        "multiprocessing_context": context,
        "persistent_workers": persistent,
    }
    batches = []
    by_draw = DataLoader(dataset, batch_sampler=sampler, **options)
    by_index = DataLoader(dataset, batch_size=4, **options)
    for loader in (by_draw, by_index):
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += list(loader)
    return batches


@pytest.mark.parametrize(
    ("workers", "context", "persistent"),
    [(1, "fork", False), (2, "fork", True), (1, "spawn", True)],
)
def test_workers_change_nothing(
    clips: list[Clip], cache: AudioCache, workers: int, context: str, persistent: bool
) -> None:
    alone = epochs(clips, cache, 0, None, False)
    shared = epochs(clips, cache, workers, context, persistent)
    assert len(alone) == len(shared) == 8
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    assert not torch.equal(alone[0].waveform, alone[2].waveform)


def test_an_error_in_a_worker_says_what_it_says(clips: list[Clip], cache: AudioCache) -> None:
    clips[1].path.unlink()
    loader = DataLoader(ClipDataset(clips, ["low", "high"], cache), batch_size=2, num_workers=1)
    with pytest.raises(AudioError, match="no such file"):
        list(loader)


def test_collate() -> None:
    batch = collate([(torch.ones(3), 2), (torch.full((5,), 2.0), 0), (torch.ones(1), 1)])
    assert isinstance(batch, Batch)
    assert batch.waveform.tolist() == [[1, 1, 1, 0, 0], [2, 2, 2, 2, 2], [1, 0, 0, 0, 0]]
    assert batch.waveform.dtype == torch.float32
    assert batch.lengths.tolist() == [3, 5, 1] and batch.lengths.dtype == torch.int64
    assert batch.labels.tolist() == [2, 0, 1] and batch.labels.dtype == torch.int64


def test_accelerate_places_a_batch() -> None:
    operations = pytest.importorskip("accelerate.utils")
    batch = collate([(torch.ones(3), 0)])
    placed = operations.send_to_device(batch, torch.device("meta"))
    assert isinstance(placed, Batch) and placed.waveform.device.type == "meta"


def test_wrong_arguments(clips: list[Clip], cache: AudioCache) -> None:
    with pytest.raises(DataError, match="clips is empty"):
        ClipDataset([], ["low"], cache)
    with pytest.raises(DataError, match=r"0\.wav: its label 'high' is not one of the model's 1"):
        ClipDataset(clips, ["low"], cache)
    with pytest.raises(DataError, match="max_samples is 0"):
        ClipDataset(clips, ["low", "high"], cache, max_samples=0)
