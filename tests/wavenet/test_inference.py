"""Metrics against scikit-learn, prediction, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn import metrics as oracle

from wavenet import (
    GeneratorConfig,
    WaveGlow,
    WaveGlowConfig,
    WaveNet,
    WaveNetClassifier,
    WaveNetConfig,
    load_model,
)
from wavenet.classifier.inference import Metrics, confusion_matrix, draw_confusion
from wavenet.classifier.inference import load_model as load_classifier
from wavenet.data.mel import MelConfig
from wavenet.errors import ModelError


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_metrics_agree_with_scikit_learn(classes):
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, 200)
    predicted = np.where(random.random(200) < 0.6, truth, random.integers(0, classes, 200))
    labels = tuple(map(str, range(classes)))
    metrics = Metrics(labels, confusion_matrix(truth, predicted, classes), 0.0)
    assert np.array_equal(metrics.confusion, oracle.confusion_matrix(truth, predicted))
    assert metrics.accuracy == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert metrics.macro_f1 == pytest.approx(oracle.f1_score(truth, predicted, average="macro"))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(truth, predicted)
    for i, row in enumerate(metrics.per_class):
        assert row["precision"] == pytest.approx(precision[i])
        assert row["recall"] == pytest.approx(recall[i])
        assert row["f1"] == pytest.approx(f1[i])
        assert row["support"] == support[i]


def test_classes_that_do_not_occur():
    truth, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    metrics = Metrics(("a", "b", "c"), confusion_matrix(truth, predicted, 3), 0.0)
    assert metrics.macro_f1 == pytest.approx(oracle.f1_score(truth, predicted, average="macro"))
    assert metrics.per_class[2] == {
        "label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0,
    }  # fmt: skip
    assert draw_confusion(metrics).startswith(b"\x89PNG")


def test_labels_are_no_formulas():
    metrics = Metrics(("$\\no$", "$100$"), np.eye(2, dtype=int), 0.0)
    assert draw_confusion(metrics).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An untrained model and three recordings, one of them broken."""
    folder = tmp_path_factory.mktemp("saved")
    config = WaveNetConfig(
        labels=("a", "b", "c"),
        sample_rate=8000,
        residual_channels=4,
        dilation_channels=4,
        skip_channels=4,
        layers_per_stack=2,
        stacks=1,
    )
    WaveNetClassifier(config).save_pretrained(folder / "model")
    (folder / "clips").mkdir()
    noise = np.random.default_rng(0).standard_normal((4000, 2)) * 0.1
    soundfile.write(folder / "clips" / "stereo.flac", noise, 16000)
    soundfile.write(folder / "clips" / "mono.wav", noise[:, 0], 8000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def test_predict_json(saved, wavenet):
    done = wavenet(
        "predict", saved / "model", saved / "clips", saved / "broken.wav", "--json", "--top", 2
    )
    assert done.code == 1  # one of them could not be read
    mono, stereo, broken = map(json.loads, done.out.splitlines())
    assert mono["path"].endswith("mono.wav") and stereo["path"].endswith("stereo.flac")
    assert [entry["label"] in "abc" for entry in mono["top"]] == [True, True]
    assert mono["top"][0]["probability"] >= mono["top"][1]["probability"]
    assert "broken.wav" in broken["error"]
    assert "1 of 3 recordings could not be read" in done.err


def test_predict_table_and_info(saved, wavenet):
    done = wavenet("predict", saved / "model", saved / "clips" / "mono.wav")
    assert done.code == 0, done.err
    assert "mono.wav" in done.out.replace("\n", "")
    done = wavenet("info", saved / "model")
    assert done.code == 0, done.err
    assert "3: a, b, c" in done.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("predict", "nowhere", "x.wav"), "x.wav: there is no such file or folder"),
        (("info", "nowhere"), "nowhere: there is no such folder with a saved model"),
        (("train", "--out", "runs/x"), "data.source is empty"),
        (("train", "--out", "r", "--set", "model.stacks=none"), "stacks is 'none'; accepted is"),
        (("train", "--out", "r", "--data", "nowhere"), "nowhere"),
        (
            ("info", "runs/none"),
            "runs/none: there is no such folder with a saved model (on the Hub",
        ),
        (("info", "no-owner/nothing/else"), "there is no such folder with a saved model"),
        (
            ("train", "--config", "fsdd", "--out", "/proc/x", "--data", "."),
            "/proc/x: can't be made a run folder",
        ),
        (("predict", "nowhere", "."), ".: holds no recordings (.aif, .aifc,"),
        (("evaluate", "nowhere"), "nowhere: there is no such folder with a saved model"),
    ],
)
def test_errors_are_one_sentence(arguments, sentence, tmp_path, monkeypatch, wavenet):
    monkeypatch.chdir(tmp_path)
    done = wavenet(*arguments)
    assert done.code == 2
    assert sentence in done.err


@pytest.mark.parametrize("source", ["hf://owner/name", "hf:owner/name", Path("hf://owner/name")])
def test_a_model_of_the_hub_is_asked_for_by_its_scheme(source, monkeypatch):
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ModelError, match="can't be loaded: no network"):
        load_model(source)
    assert asked == [("owner/name", "config.json")]


def test_models_of_every_architecture_are_loaded(tmp_path):
    mel = MelConfig.tacotron2(8000, n_fft=64, hop=16, window=64, mels=5, high_hz=4000.0)
    glow = WaveGlowConfig(sample_rate=8000, mel=mel, flows=2, layers=2, channels=4)
    for model in (
        WaveNetClassifier(WaveNetConfig(labels=("a", "b"), stacks=1, layers_per_stack=2)),
        WaveNet(GeneratorConfig(stacks=1, layers_per_stack=2, residual_channels=4)),
        WaveGlow(glow),
    ):
        model.save_pretrained(tmp_path)
        loaded = load_model(tmp_path)
        assert type(loaded) is type(model) and loaded.config == model.config
        assert not loaded.training
    with pytest.raises(ModelError, match="is a waveglow; accepted here: classifier"):
        load_classifier(tmp_path)


def test_results_about_a_model_of_the_hub_need_a_folder(saved, monkeypatch, wavenet):
    model = load_model(saved / "model")
    monkeypatch.setattr("wavenet.loading.load_trained", lambda source, device: model)
    done = wavenet("evaluate", "hf://owner/name", "--data", saved)
    assert done.code == 2 and "owner/name is not a folder to write results into; give" in done.err


def test_from_synthesised_sounds_to_predictions(tmp_path, wavenet):
    """The whole way on the command line, with brackets in the names."""
    data, run = tmp_path / "sounds", tmp_path / "[run]"
    assert wavenet("synth", data, "--clips-per-class", 10).code == 0
    small = ["stem_stride=32", "stem_kernel_size=64", "layers_per_stack=3", "stacks=1"]
    small += [f"{name}_channels=8" for name in ("residual", "dilation", "skip", "head")]
    overrides = [f"model.{field}" for field in ["sample_rate=8000", *small]]
    overrides += ["training.epochs=2", f"data.cache={tmp_path / 'cache'}"]
    options = [part for override in overrides for part in ("--set", override)]
    done = wavenet("train", "--data", data, "--out", run, *options)
    assert done.code == 0, done.err
    assert f"the model is in {run}" in done.out
    done = wavenet("train", "--out", run, "--resume")
    assert done.code == 0, done.err
    done = wavenet("train", "--out", run, "--resume", "--set", "training.seed=3")
    assert done.code == 2 and "different are training.seed" in done.err
    done = wavenet("evaluate", run)
    assert done.code == 0, done.err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["split"] == "test" and metrics["clips"] == 20
    assert (run / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    done = wavenet("predict", run, data / "siren")
    assert done.code == 0, done.err
    assert done.out.count("siren_") == 10
    done = wavenet("info", run)
    assert "2 epochs" in done.out
