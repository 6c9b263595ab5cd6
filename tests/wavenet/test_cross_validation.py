"""Cross-validation by folds and groups, interrupted and gone on with."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
from small_runs import OVERRIDES, quiet

from wavenet.classifier import cross_validation as crossing
from wavenet.classifier.cross_validation import cross_validate
from wavenet.classifier.data import Clip, DataConfig, split_clips
from wavenet.classifier.inference.intervals import wilson_interval
from wavenet.classifier.run_config import load_config
from wavenet.errors import DataError


@pytest.mark.slow
def test_groups_and_an_interruption(recordings, tones, tmp_path, monkeypatch, wavenet):
    """The first time it is stopped in the second of three parts; then it goes on.

    Each part starts from a trained model, with its architecture.
    """
    overrides = ("training.epochs=1", "training.device=cpu", f"data.cache={tmp_path / 'cache'}")
    command = ("cross-validate", "--leave-one-group-out", "--from", tones.run)
    command += ("--data", recordings / "all.csv", "--out", tmp_path / "cv")
    command += tuple(part for override in overrides for part in ("--set", override))
    trained, train = [], crossing.train_among

    def interrupted(accelerator, config, run, **settings):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(config.data.leave_out_group)
        return train(accelerator, config, run, **settings)

    monkeypatch.setattr(crossing, "train_among", interrupted)
    done = wavenet(*command)
    assert done.code == 130 and "to go on: the same command" in done.out
    content = json.loads((tmp_path / "cv" / "cross_validation.json").read_text())
    assert (content["parts_done"], content["parts_in_all"]) == (1, 3)
    first = (tmp_path / "cv" / "group-person0" / "model.safetensors").stat().st_mtime_ns

    # What anybody asks of a part's model is not taken for its test.
    done = wavenet("evaluate", tmp_path / "cv" / "group-person0", "--split", "train")
    assert done.code == 0, done.err

    monkeypatch.setattr(crossing, "train_among", train)
    done = wavenet(*command)
    assert done.code == 0, done.err
    assert (tmp_path / "cv" / "group-person0" / "model.safetensors").stat().st_mtime_ns == first
    content = json.loads((tmp_path / "cv" / "cross_validation.json").read_text())
    accuracies = [part["accuracy"] for part in content["parts"]]
    assert [part["name"] for part in content["parts"]] == ["person0", "person1", "person2"]
    assert content["accuracy"]["mean"] == pytest.approx(statistics.mean(accuracies))
    assert content["accuracy"]["standard_deviation"] == pytest.approx(statistics.stdev(accuracies))
    assert sum(map(sum, content["confusion"])) == 36  # every clip is tested on once
    assert content["accuracy"]["lowest"] >= 0.9  # an epoch from random weights gives a third
    assert f"accuracy {statistics.mean(accuracies):.2%} +-" in done.out

    done = wavenet(*command, "--set", "training.seed=1")
    assert done.code == 2 and "different are training.seed" in done.err


def test_folds_and_names_that_are_no_file_names(recordings, tmp_path):
    with open(recordings / "all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    manifest = recordings / "folds.csv"
    with open(manifest, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "fold"))
        table.writerows((r["path"], r["label"], f"../{r['fold']}") for r in rows)
    cache = f"data.cache={tmp_path / 'cache'}"
    overrides = [*OVERRIDES, "training.epochs=1", f"data.source={manifest}", cache]
    config = load_config(None, overrides)
    result = cross_validate(config, tmp_path / "cv", by="fold", console=quiet())
    assert [(part["name"], part["clips"]) for part in result.parts] == [("../0", 18), ("../1", 18)]
    left = {path.name for path in (tmp_path / "cv").iterdir()}
    assert left == {"fold-..%2F0", "fold-..%2F1", "cross_validation.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"cv", "cache"}


def test_a_fold_left_out_is_the_test_part():
    clips = [
        Clip(Path(f"{label}{i}.wav"), label, fold=str(i % 3), split="test" if i == 0 else "train")
        for label in "ab"
        for i in range(9)
    ]
    splits = split_clips(clips, DataConfig(source="x", leave_out_fold="1"), seed=0)
    assert {clip.fold for clip in splits.test} == {"1"} and len(splits.test) == 6
    assert not any(clip.fold == "1" for clip in splits.train + splits.validation)
    with pytest.raises(DataError, match="no clip has the fold '7'"):
        split_clips(clips, DataConfig(source="x", leave_out_fold="7"), seed=0)
    with pytest.raises(ValueError, match="leave_out_fold is '1'; accepted is empty where"):
        DataConfig(leave_out_fold="1", leave_out_group="a")


def test_background_is_not_counted_once_a_part():
    """All parts are tested on the same clips of it, which are no more of them for that."""
    part = {"name": "1", "accuracy": 0.5, "confusion": [[3, 1, 0], [0, 9, 0], [0, 1, 3]]}
    labels = ("a", "background", "b")
    whole = crossing.CrossValidation("fold", labels, [part, part]).as_dict(2)
    without = crossing.CrossValidation("fold", labels, [part, part], "background").as_dict(2)
    assert whole["confusion"] == [[6, 2, 0], [0, 18, 0], [0, 2, 6]]
    assert without["confusion"] == [[6, 2, 0], [0, 0, 0], [0, 2, 6]]
    assert without["accuracy_interval"] == list(wilson_interval(12, 16))


def test_what_can_not_be_crossed(recordings, tmp_path, wavenet):
    base = ("cross-validate", "--out", tmp_path / "cv")
    for options, sentence in (
        ((), "accepted is one of --folds, --leave-one-group-out and --group-folds"),
        (("--folds", "--leave-one-group-out"), "accepted is one of --folds"),
        (("--folds",), "data.source is empty"),
        (("--folds", "--data", recordings / "nowhere"), "no such file or folder"),
        (
            ("--folds", "--data", recordings / "all.csv", "--set", "data.leave_out_group=person1"),
            "are chosen by the cross-validation",
        ),
    ):
        done = wavenet(*base, *options)
        assert done.code == 2 and sentence in done.err, options
    alone = recordings / "alone.csv"
    alone.write_text("path,label,group\nlow/0.wav,low,me\nhigh/0.wav,high,me\n")
    for by, sentence in (("group", "its only group is 'me'"), ("fold", "no clip has a fold")):
        config = load_config(None, [f"data.source={alone}"])
        with pytest.raises(DataError, match=f"{sentence}; at least two are needed"):
            cross_validate(config, tmp_path / "cv", by=by)
    alone.write_text("path,label,group\na.wav,low,me\nb.wav,low,you\nc.wav,high,me\n")
    with pytest.raises(DataError, match="all clips of 'high' are of group 'me'; a class needs"):
        cross_validate(load_config(None, [f"data.source={alone}"]), tmp_path / "cv", by="group")
    assert not (tmp_path / "cv").exists()
