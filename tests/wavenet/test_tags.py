"""Several labels a clip: metrics against scikit-learn, and the whole way from a manifest on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn import metrics as oracle
from small_runs import RATE, quiet, small_config

from wavenet import WaveNetConfig, load_model
from wavenet.classifier.data import find_clips, labels_of, split_validation
from wavenet.classifier.inference import TagMetrics, evaluate, merge_decisions, predict
from wavenet.classifier.inference.decisions import Decision
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.inference.export import formats_of, metadata_of
from wavenet.classifier.inference.tag_metrics import best_threshold
from wavenet.classifier.rule import Rule
from wavenet.classifier.training import train
from wavenet.errors import ConfigError, DataError

PITCHES = {"low": 150, "middle": 500, "high": 1500}


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_agree_with_scikit_learn(ties):
    random = np.random.default_rng(0)
    truth = random.random((200, 4)) < (0.5, 0.1, 0.9, 0.3)
    scores = np.clip(0.4 * truth + 0.6 * random.random((200, 4)), 0, 1)
    if ties:
        scores = np.round(scores, 1)
    thresholds = np.array([0.5, 0.6, 0.4, 0.7])
    metrics = TagMetrics(tuple("abcd"), truth, scores, thresholds, 0.0)
    said = scores >= thresholds
    expected = {
        "map": oracle.average_precision_score(truth, scores, average="macro"),
        "micro_map": oracle.average_precision_score(truth, scores, average="micro"),
        "auc": oracle.roc_auc_score(truth, scores, average="macro"),
        "micro_auc": oracle.roc_auc_score(truth, scores, average="micro"),
        "macro_f1": oracle.f1_score(truth, said, average="macro"),
        "micro_f1": oracle.f1_score(truth, said, average="micro"),
        "exact": oracle.accuracy_score(truth, said),
        "loss": 0.0,
    }
    assert metrics.figures == pytest.approx(expected)
    precision, recall, f1, support = oracle.precision_recall_fscore_support(truth, said)
    for i, row in enumerate(metrics.per_class):
        assert row["average_precision"] == pytest.approx(
            oracle.average_precision_score(truth[:, i], scores[:, i])
        )
        assert row["auc"] == pytest.approx(oracle.roc_auc_score(truth[:, i], scores[:, i]))
        assert (row["precision"], row["recall"]) == pytest.approx((precision[i], recall[i]))
        assert row["f1"] == pytest.approx(f1[i]) and row["support"] == support[i]


def test_the_best_threshold_is_the_best_of_all():
    random = np.random.default_rng(1)
    truth = random.random(60) < 0.3
    scores = np.round(0.3 * truth + 0.7 * random.random(60), 2)
    found = best_threshold(truth, scores, 0.5)
    best = max(oracle.f1_score(truth, scores >= t) for t in np.unique(scores))
    assert oracle.f1_score(truth, scores >= found) == pytest.approx(best)
    assert best_threshold(np.zeros(3, bool), np.zeros(3), 0.5) == 0.5


def test_what_is_undefined_is_left_out():
    truth = np.array([[True, False], [False, False]])
    metrics = TagMetrics(("a", "b"), truth, np.full((2, 2), 0.4), np.full(2, 0.5), 0.1)
    content = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert content["per_class"][1]["average_precision"] is None
    assert content["map"] == 0.5 and content["macro_f1"] == 0.0  # of the class a alone
    assert metrics.picture().startswith(b"\x89PNG")


def test_tags_of_a_manifest(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.wav,dog; rain\nb.wav,\nc.wav,rain;rain\n")
    clips = find_clips(tmp_path / "list.csv", separator=";")
    assert [clip.tags for clip in clips] == [("dog", "rain"), (), ("rain",)]
    assert labels_of(clips) == ["dog", "rain"]
    with pytest.raises(DataError, match="line 3: the field 'label' is empty"):
        find_clips(tmp_path / "list.csv")
    (tmp_path / "none.csv").write_text("path,label\na.wav,\n")
    with pytest.raises(DataError, match="none of its 1 clips has a label"):
        find_clips(tmp_path / "none.csv", separator=";")


def test_every_tag_is_on_both_sides(tmp_path):
    """Sets of tags are mostly there once; what is dealt out is the rarest tag."""
    rows = [f"{i}.wav,t{i % 4};n{i}" if i % 2 else f"{i}.wav,t{i % 4};all" for i in range(40)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    clips = find_clips(tmp_path / "list.csv", separator=";")
    train_, validation = split_validation(clips, 0.2, 0)
    assert {"t0", "t2", "all"} <= set(labels_of(validation)) & set(labels_of(train_))


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Path:
    """Mixtures of up to three tones in noise, labelled with those that are there; and a run."""
    folder = tmp_path_factory.mktemp("tagged")
    random = np.random.default_rng(0)
    rows = []
    for number in range(64):
        t = np.arange(RATE // 5) / RATE
        tags = [name for bit, name in enumerate(PITCHES) if number >> bit & 1]
        sound = 0.02 * random.standard_normal(t.size)
        for name in tags:
            pitch = PITCHES[name] * random.uniform(0.95, 1.05)
            sound += 0.2 * np.sin(2 * np.pi * pitch * t + random.uniform(0, 6))
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        rows.append((f"{number}.wav", "|".join(tags), "validation" if number < 16 else "train"))
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    more = ["training.epochs=12", 'data.label_separator="|"', "training.class_weights=1"]
    config = small_config(folder, folder, *more, f"data.source={folder / 'list.csv'}")
    train(config, folder / "run", console=quiet())
    return folder


def test_a_run_learns_tags(tagged):
    model = load_model(tagged / "run")
    assert model.config.tags and model.config.labels == ("high", "low", "middle")
    assert len(model.config.thresholds) == 3
    chosen = choose_clips(tagged / "run", model.config, None, None)
    metrics = evaluate(model, chosen.clips, chosen.cache)
    assert isinstance(metrics, TagMetrics)
    assert metrics.figures["map"] > 0.85 and metrics.figures["macro_f1"] > 0.8
    with open(tagged / "run" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(float(row["validation_map"]) for row in rows)
    assert best == pytest.approx(metrics.figures["map"], abs=1e-6)


def test_what_a_run_of_tags_says(tagged, wavenet):
    run = tagged / "run"
    model = load_model(run)
    said = {p.path.name: p for p in predict(model, [tagged / "7.wav", tagged / "0.wav"], top=2)}
    assert len(said["7.wav"].tags) >= 2 > len(said["0.wav"].tags)
    done = wavenet("predict", run, tagged / "7.wav", "--json")
    assert set(json.loads(done.out)["tags"]) == set(said["7.wav"].tags)
    done = wavenet("evaluate", run)
    assert "mAP " in done.out and "all tags right" in done.out, done.err
    assert (run / "precision_recall.png").is_file()
    assert not (run / "confusion_matrix.png").exists()
    page = wavenet("report", run, "--out", tagged / "report.html", "--snr", "10")
    assert page.code == 0, page.err
    text = (tagged / "report.html").read_text()
    assert "all tags right" in text and "Precision over recall" in text
    done = wavenet("stream", run, tagged / "7.wav", "--window", "0.2")
    assert len(json.loads(done.out.splitlines()[-1])["tags"]) >= 2
    assert "best validation mAP" in wavenet("info", run).out
    assert formats_of(model) == ("onnx", "torch")


def test_segments_of_tags_overlap():
    rule = Rule(("a", "b"), tags=True, thresholds=(0.5, 0.9))

    def decision(start: float, a: float, b: float) -> Decision:
        logits = torch.logit(torch.tensor([a, b]))
        return Decision(start, start + 1, logits, rule.labels, rule)

    found = merge_decisions([decision(0, 0.8, 0.95), decision(1, 0.7, 0.8), decision(2, 0.1, 0.99)])
    assert [(s.start, s.end, s.label) for s in found] == [(0, 1, "b"), (0, 2, "a"), (2, 3, "b")]
    assert [s.probability for s in found] == pytest.approx([0.95, 0.75, 0.99])


def test_an_exported_model_says_what_it_means():
    labels, thresholds = ("a", "b"), (0.3, 0.6)
    said = metadata_of(WaveNetConfig(labels=labels, tags=True, thresholds=thresholds))
    assert json.loads(said["tags"]) is True
    assert tuple(json.loads(said["thresholds"])) == thresholds
    said = metadata_of(WaveNetConfig(labels=labels))
    assert json.loads(said["tags"]) is False and json.loads(said["thresholds"]) == [0, 0]


@pytest.mark.parametrize("figure", ["accuracy", "map"])
def test_figures_that_do_not_go_with_the_labels(tmp_path, figure):
    more = ["data.label_separator=;"] if figure == "accuracy" else []
    with pytest.raises(ConfigError, match=f"training.best_by is '{figure}'; accepted with"):
        small_config(tmp_path, tmp_path, f"training.best_by={figure}", *more)
