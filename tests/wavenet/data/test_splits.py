from __future__ import annotations

import dataclasses
import random
from collections import Counter
from pathlib import Path

import pytest

from wavenet.classifier.data import (
    Clip,
    DataConfig,
    select,
    split_clips,
    split_validation,
    values_of,
)
from wavenet.errors import DataError


def many(root: str = "/data", per_class: int = 20, groups: int = 4) -> list[Clip]:
    return [
        Clip(Path(root) / label / f"{number}.wav", label, group=f"g{number % groups}")
        for label in ("a", "b", "c")
        for number in range(per_class)
    ]


def names(clips: list[Clip]) -> list[tuple[str, str]]:
    return sorted((clip.label, clip.path.name) for clip in clips)


def test_select() -> None:
    clips = [
        Clip(Path("1"), "a", "train", "1", "x"),
        Clip(Path("2"), "a", "test", "2", "x"),
        Clip(Path("3"), "b", "train", "10", "y"),
    ]
    assert select(clips) == clips
    assert select(clips, split="train") == [clips[0], clips[2]]
    assert select(clips, split={"train", "test"}, group="x") == clips[:2]
    assert select(clips, exclude_group=["x"]) == [clips[2]]
    assert select(clips, fold="2") == select(clips, exclude_fold=("1", "10")) == [clips[1]]
    assert select(clips, exclude_split="train") == [clips[1]]
    assert values_of(clips, "fold") == ["1", "2", "10"]
    assert values_of([Clip(Path("1"), "a")], "fold") == []


def test_select_names_what_there_is() -> None:
    clips = [Clip(Path("1"), "a", "train"), Clip(Path("2"), "a", "test")]
    with pytest.raises(DataError, match="no clip has the split 'dev'; there are 'test', 'train'"):
        select(clips, split="dev")
    with pytest.raises(DataError, match="no clip has the group 'x'; no clip has a group"):
        select(clips, exclude_group="x")
    with pytest.raises(DataError, match="none of the 2 clips is left"):
        select(clips, split="test", exclude_split="test")


@pytest.mark.parametrize("by_group", [False, True])
def test_split_validation_is_a_partition_by_seed_alone(by_group: bool) -> None:
    clips = many()
    train, validation = split_validation(clips, 0.25, 7, by_group=by_group)
    assert names(train + validation) == names(clips)
    assert Counter(clip.label for clip in validation) == {"a": 5, "b": 5, "c": 5}

    mixed = random.Random(0).sample(clips, len(clips))
    assert names(split_validation(mixed, 0.25, 7, by_group=by_group)[1]) == names(validation)
    moved = many("/somewhere/else")
    assert names(split_validation(moved, 0.25, 7, by_group=by_group)[1]) == names(validation)
    others = [split_validation(clips, 0.25, seed, by_group=by_group)[1] for seed in range(8)]
    assert len({tuple(names(other)) for other in others}) > 1


def test_split_validation_is_the_same_on_every_machine() -> None:
    validation = split_validation(many(per_class=5), 0.2, 0)[1]
    assert names(validation) == FROZEN


FROZEN = [("a", "0.wav"), ("b", "2.wav"), ("c", "1.wav")]


def test_split_validation_keeps_the_order() -> None:
    clips = many()
    train, validation = split_validation(clips, 0.3, 1)
    assert train == [clip for clip in clips if clip in train]
    assert validation == [clip for clip in clips if clip in validation]


def test_every_class_keeps_a_training_clip() -> None:
    clips = [
        Clip(Path(f"{n}.wav"), label) for n, label in enumerate(["a", "b", "b", "c", "c", "c"])
    ]
    train, validation = split_validation(clips, 0.99, 0)
    assert Counter(clip.label for clip in train) == {"a": 1, "b": 1, "c": 1}
    assert Counter(clip.label for clip in validation) == {"b": 1, "c": 2}
    assert len(split_validation(clips, 0.01, 0)[1]) == 2
    with pytest.raises(DataError, match="every class has only one clip"):
        split_validation([clips[0], clips[1]], 0.5, 0)


def test_groups_stay_whole() -> None:
    for fraction in (0.05, 0.25, 0.5, 0.9):
        train, validation = split_validation(many(), fraction, 3, by_group=True)
        assert train and validation
        assert not set(values_of(train, "group")) & set(values_of(validation, "group"))


def test_groups_that_hold_a_whole_class_stay_in_training() -> None:
    clips = many(groups=2) + [Clip(Path("/data/d/1.wav"), "d", group="g1")]
    for seed in range(4):
        assert values_of(split_validation(clips, 0.5, seed, by_group=True)[1], "group") == ["g0"]
    only = [Clip(Path("1"), "a", group="x"), Clip(Path("2"), "b", group="y")]
    with pytest.raises(DataError, match="each of the 2 groups holds all clips of some class"):
        split_validation(only, 0.5, 0, by_group=True)


def test_parts_of_a_recording_stay_together() -> None:
    """Where clips have no groups; which they don't get by that."""
    clips = [
        Clip(Path(f"/data/{number}.wav"), label, start=start, end=start + 1.0)
        for label, numbers in (("a", range(8)), ("b", range(8, 16)))
        for number in numbers
        for start in (0.0, 1.0, 2.0)
    ]
    settings = DataConfig(test_fraction=0.25, validation_fraction=0.25)
    splits = split_clips(clips, settings, 0)
    parts = (splits.train, splits.validation, splits.test)
    recordings = [{clip.path for clip in part} for part in parts]
    assert [len(part) for part in recordings] == [8, 4, 4]
    assert len(set.union(*recordings)) == 16
    assert {clip for part in parts for clip in part} == set(clips)
    apart = split_clips(clips, dataclasses.replace(settings, validation_by_group=False), 0)
    assert {c.path for c in apart.validation} & {c.path for c in apart.train}


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match="by_group needs a group for every clip, 1 have none"):
        split_validation([*many(), Clip(Path("/x.wav"), "a")], 0.5, 0, by_group=True)
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(DataError, match="fraction is"):
            split_validation(many(), fraction, 0)
    with pytest.raises(DataError, match="no validation part"):
        split_validation([], 0.5, 0)
