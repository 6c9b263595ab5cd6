from __future__ import annotations

from collections import Counter

import pytest

from wavenet.classifier.data import Draw, EpochBatchSampler
from wavenet.errors import DataError

TARGETS = [0] * 30 + [1] * 10 + [2] * 3


def draws(sampler: EpochBatchSampler) -> list[Draw]:
    return [draw for batch in sampler for draw in batch]


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("bucketed", [False, True])
def test_order_is_a_function_of_seed_and_epoch(balanced: bool, bucketed: bool) -> None:
    def order(seed: int, epoch: int) -> list[list[Draw]]:
        lengths = list(range(43)) if bucketed else None
        sampler = EpochBatchSampler(TARGETS, 8, seed=seed, balanced=balanced, lengths=lengths)
        sampler.set_epoch(epoch)
        first = list(sampler)
        assert first == list(sampler)
        assert len(first) == len(sampler) == 6
        assert [len(batch) for batch in first] == [8] * 5 + [3]
        return first

    assert order(0, 2) == order(0, 2)
    assert order(0, 2) != order(0, 3) and order(0, 2) != order(1, 2)
    assert {draw.epoch for batch in order(0, 2) for draw in batch} == {2}


def test_every_clip_once() -> None:
    for lengths in (None, list(range(43))):
        found = draws(EpochBatchSampler(TARGETS, 8, lengths=lengths))
        assert sorted(draw.clip for draw in found) == list(range(43))
        assert all(draw.repeat == 0 for draw in found)


def test_the_last_batch_may_be_a_short_one() -> None:
    sampler = EpochBatchSampler(TARGETS, 8)
    assert [len(batch) for batch in sampler] == [8] * 5 + [3] and len(sampler) == 6
    assert len(EpochBatchSampler([0] * 16, 8)) == len(list(EpochBatchSampler([0] * 16, 8))) == 2


def test_balanced() -> None:
    sampler = EpochBatchSampler(TARGETS, 8, balanced=True)
    often: Counter[int] = Counter()
    extra: Counter[int] = Counter()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        found = draws(sampler)
        classes = Counter(TARGETS[draw.clip] for draw in found)
        assert sorted(classes.values()) == [14, 14, 15]
        extra.update(label for label, count in classes.items() if count == 15)
        assert len(set(found)) == len(found)  # a second visit is another draw
        visits = Counter(draw.clip for draw in found)
        assert max(visits[clip] for clip in range(30)) == 1
        assert {visits[clip] for clip in range(40, 43)} <= {4, 5}
        often.update(clip for clip in visits if clip < 30)
    assert len(often) == 30 and len(extra) == 3


def test_batches_of_similar_length() -> None:
    lengths = [(37 * number) % 1000 + 1 for number in range(1000)]

    def padding(bucketed: bool) -> float:
        sampler = EpochBatchSampler([0] * 1000, 16, lengths=lengths if bucketed else None)
        padded = sum(16 * max(lengths[draw.clip] for draw in batch) for batch in sampler)
        return padded / sum(lengths) - 1

    assert padding(True) < 0.1 < 0.5 < padding(False)
    sampler = EpochBatchSampler([0] * 1000, 16, lengths=lengths)
    means = [sum(lengths[draw.clip] for draw in batch) / len(batch) for batch in sampler]
    assert means != sorted(means)


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match="targets is empty"):
        EpochBatchSampler([], 8)
    with pytest.raises(DataError, match="batch_size is 0"):
        EpochBatchSampler(TARGETS, 0)
    with pytest.raises(DataError, match="bucket_batches is 0"):
        EpochBatchSampler(TARGETS, 8, bucket_batches=0)
    with pytest.raises(DataError, match="lengths has 2 entries, targets has 43"):
        EpochBatchSampler(TARGETS, 8, lengths=[1, 2])
