"""What is none of the classes: background, the threshold below which nothing is named, silence."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch
from small_runs import MODEL, RATE, quiet, small_config

from wavenet import StreamingClassifier, WaveNetClassifier, WaveNetConfig, load_model
from wavenet.classifier.data import DataConfig, find_clips, find_labelled, labels_of, prepare_data
from wavenet.classifier.inference import Decision, classify_windows, merge_decisions, predict
from wavenet.classifier.inference.intervals import wilson_interval
from wavenet.classifier.inference.thresholds import rejection, rejection_threshold
from wavenet.classifier.rule import Rule
from wavenet.classifier.run_config import load_config
from wavenet.classifier.run_folder import read_clips
from wavenet.classifier.training import train
from wavenet.errors import DataError

LABELS = ("a", "b", "background")


def _logits(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log()


def test_wilsons_interval():
    """The figures of Newcombe 1998, table I, method 3."""
    for right, clips, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                                    (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson_interval(right, clips) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1.0


def test_the_threshold_gives_up_a_share_of_what_is_right():
    sure = torch.linspace(0.4, 0.99, 60)
    logits = torch.stack([sure, (1 - sure) / 2, (1 - sure) / 2], 1).log()
    targets = torch.zeros(60, dtype=torch.int64)
    targets[-10:] = 1  # the surest are wrong and say nothing
    threshold = rejection_threshold(logits, targets, 0.1)
    assert int((sure[:50] < threshold).sum()) == 5
    assert rejection_threshold(logits, targets, 0.0) == 0.0
    config = WaveNetConfig(**{**MODEL, "labels": LABELS}, thresholds=(threshold,) * 3)
    found = rejection(config, logits, targets)
    assert found.accepted == pytest.approx(55 / 60) and found.accuracy == pytest.approx(45 / 55)
    assert found.interval == wilson_interval(45, 55)


def test_what_is_said_of_what_is_heard():
    rule = Rule(LABELS, thresholds=(0.6, 0.6, 0.6), background="background")
    kinds = [(0.7, 0.2, 0.1), (0.5, 0.4, 0.1), (0.1, 0.1, 0.8)]
    decisions = [Decision(i, i + 1, _logits(*p), LABELS, rule) for i, p in enumerate(kinds)]
    assert [decision.label for decision in decisions] == ["a", "unknown", "background"]
    silent = Decision(3, 4, _logits(*kinds[0]), LABELS, rule, silent=True)
    assert silent.label == "silence" and silent.meant == []
    found = merge_decisions([*decisions, silent])
    assert [(s.start, s.end, s.label) for s in found] == [(0, 1, "a")]
    found = merge_decisions([*decisions, silent], min_probability=0.0)
    assert [(s.start, s.end, s.label) for s in found] == [(0, 2, "a")]


@pytest.mark.parametrize("window", [0.2, None])
def test_a_stream_says_where_it_is_silent(window):
    model = WaveNetClassifier(WaveNetConfig(**MODEL)).eval()
    sound = torch.cat([torch.rand(4000) - 0.5, torch.full((8000,), 0.1), torch.rand(4000) - 0.5])
    listener = StreamingClassifier(model, window_seconds=window, hop_seconds=0.1)
    decisions = [d for part in sound.split(777) for d in listener.push(part)] + listener.finish()
    for decision in decisions:
        part = sound[round(decision.start * 8000) : round(decision.end * 8000)]
        assert decision.silent == (float(part.max() - part.min()) < 2e-4)
    assert any(decision.silent for decision in decisions) == (window is not None)
    if window:
        whole = list(classify_windows(model, [sound], window_seconds=window, hop_seconds=0.1))
        assert any(d.silent for d in whole) and not whole[0].silent and not whole[-1].silent


@pytest.fixture(scope="module")
def noises(recordings, tmp_path_factory):
    """Two recordings without a class, of which one is long."""
    folder = tmp_path_factory.mktemp("noises")
    random = np.random.default_rng(0)
    for name, seconds in (("wind.wav", 8.0), ("short.wav", 0.05)):
        noise = 0.1 * random.standard_normal(round(seconds * RATE))
        soundfile.write(folder / name, noise, RATE)
    return folder


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("separator", ["", ";"])
def test_background_is_dealt_to_all_splits(recordings, noises, tmp_path, made, separator):
    config = DataConfig(
        source=str(recordings / "all.csv"),
        background="synthesised" if made else str(noises),
        cache=str(tmp_path),
        label_separator=separator,
    )
    data = prepare_data(config, RATE, 100, 0)
    again = prepare_data(config, RATE, 100, 0)
    assert data.splits == again.splits
    median = float(np.median(data.report.samples)) / RATE
    count = 0
    for clips in vars(data.splits).values():
        background = [clip for clip in clips if clip.label == ("" if separator else "background")]
        assert len(background) >= 1
        count += len(background)
        for clip in background:
            seconds = data.cache.open_clip(clip).size / RATE
            assert seconds == pytest.approx(median, abs=2e-3) or clip.path.name == "short.wav"
    assert count == pytest.approx(12, abs=2)  # as a class has
    assert ("background" in data.labels) == (not separator)
    assert "clips of background" in data.report.notes[-1]


def test_background_that_is_not_there(recordings, tmp_path):
    config = DataConfig(source=str(recordings), background="nothing", cache=str(tmp_path))
    with pytest.raises(DataError, match="data.background is 'nothing'; accepted are a folder"):
        prepare_data(config, RATE, 100, 0)


def test_a_run_finds_its_tables_and_folders_from_elsewhere(tmp_path, monkeypatch):
    """What is meant is what is there when the run is configured."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wind").mkdir()
    for given, kept in (("wind", str(tmp_path / "wind")), ("_noise_", "_noise_"),
                        ("synthesised", "synthesised")):  # fmt: skip
        config = load_config(None, [f"data.background={given}", "data.label_map=map.csv"])
        assert config.data.background == kept
        assert config.data.label_map == str(tmp_path / "map.csv")
        config.save(tmp_path / "config.yaml")
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            assert load_config(tmp_path / "config.yaml") == config


def test_made_background_is_the_runs(recordings, tmp_path):
    """Whatever becomes of the cache, and of the folder's place."""
    more = ["data.background=synthesised", "training.epochs=1"]
    config = small_config(recordings, tmp_path, *more)
    train(config, tmp_path / "run", console=quiet())
    shutil.rmtree(tmp_path / "cache")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert train(config, moved, console=quiet(), resume=True).epochs == 1
    clips, _ = read_clips(moved)
    made = [clip.path for clip in clips if clip.label == "background"]
    assert made and all(path.is_file() and path.is_relative_to(moved) for path in made)


def test_a_run_with_background_knows_what_it_is_not(recordings, noises, tmp_path, wavenet):
    more = [f"data.background={noises}", "training.epochs=10"]
    train(small_config(recordings, tmp_path, *more), tmp_path / "run", console=quiet())
    model = load_model(tmp_path / "run")
    assert model.config.background == "background" in model.config.labels
    (threshold,) = set(model.config.thresholds)
    assert threshold > 0
    (said,) = predict(model, [noises / "wind.wav"])
    assert said.label == "background"
    done = wavenet("evaluate", tmp_path / "run")
    assert "(95 %: " in done.out and "else unknown: " in done.out, done.err
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    low, high = content["accuracy_interval"]
    assert low <= content["accuracy"] <= high
    assert content["rejection"]["threshold"] == pytest.approx(threshold)
    # A timeline of the same noise has no segment; of a tone in it, one.
    t = np.arange(2 * RATE) / RATE
    sound = 0.02 * np.random.default_rng(1).standard_normal(t.size)
    sound[RATE // 2 : RATE] += 0.4 * np.sin(2 * math.pi * 500 * t[: RATE // 2])
    soundfile.write(tmp_path / "long.wav", np.concatenate([sound, np.zeros(RATE)]), RATE)
    wavenet("timeline", tmp_path / "run", tmp_path / "long.wav", "--window", 0.25, "--out",
            tmp_path / "long.json")  # fmt: skip
    content = json.loads((tmp_path / "long.json").read_text())
    assert all(s["end"] <= 2.25 and s["label"] != "background" for s in content["segments"])
    assert any(d["silent"] for d in content["decisions"])
    # The threshold is the model's: without it everything is named.
    certain = dataclasses.replace(model.config, thresholds=(1.0,) * len(model.config.labels))
    model.config = certain
    (said,) = predict(model, [noises / "wind.wav"])
    assert said.label == "unknown" and said.top


@pytest.mark.parametrize("separator", ["", ";"])
def test_a_table_merges_labels(tmp_path, separator):
    several = "dog;cat" if separator else "dog"
    rows = [f"1.wav,{several}", "2.wav,cat", "3.wav,rain", "4.wav,hail", "5.wav,car"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    (tmp_path / "map.csv").write_text(
        "label,to\ndog,animal\ncat,animal\nhail,\nrain,rain\n*,rest\n"
    )
    config = DataConfig(label_map=str(tmp_path / "map.csv"), label_separator=separator)
    clips = find_labelled(config, tmp_path / "list.csv")
    assert labels_of(clips) == ["animal", "rain", "rest"]
    assert [clip.label for clip in clips][:3] == ["animal", "animal", "rain"]
    assert len(clips) == (5 if separator else 4)
    assert labels_of(find_clips(tmp_path / "list.csv", separator=separator))[0] == "car"
    for text, sentence in (
        ("from,to\na,b\n", "its columns are .'from', 'to'.; accepted are label,to"),
        ("label,to\ndog,a\ndog,b\n", "the row of the label 'dog' is there twice"),
        ("label,to\n*,one\n", "leaves 1 labels"),
    ):
        (tmp_path / "map.csv").write_text(text)
        with pytest.raises(DataError, match=sentence):
            find_labelled(config, tmp_path / "list.csv")
