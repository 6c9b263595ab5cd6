"""Embeddings, and new classes from few clips."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from wavenet import load_model
from wavenet.classifier.data import AudioCache, Clip, find_clips
from wavenet.classifier.few_shot import fit_head, fit_linear, nearest_classes


def test_the_last_layer_goes_by_the_embedding(tones):
    model = load_model(tones.run)
    waveform = 0.1 * torch.randn(3, 2000)
    lengths = torch.tensor([2000, 700, 1500])
    with torch.no_grad():
        embedded = model.embed(waveform, lengths)
        assert embedded.shape == (3, model.config.head_channels)
        assert torch.equal(model.classifier(embedded), model(waveform, lengths))


def _rows(classes: int = 3, count: int = 90):
    random = torch.Generator().manual_seed(0)
    truth = torch.arange(count) % classes
    centres = torch.randn(classes, 5, generator=random, dtype=torch.float64)
    noise = torch.randn(count, 5, generator=random, dtype=torch.float64)
    return (centres[truth] + noise) * torch.tensor([1, 10, 0.1, 1, 5.0]) + 3, truth


def test_the_linear_head_is_that_of_scikit_learn():
    x, truth = _rows()
    weight, bias = fit_linear(x, truth, 3, 0.1)
    rows = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    oracle = LogisticRegression(C=1 / (0.1 * len(x)), tol=1e-9, max_iter=1000)
    expected = oracle.fit(rows, truth.numpy()).predict_proba(rows)
    found = (x @ weight.T + bias).softmax(1)
    assert np.allclose(found.numpy(), expected, atol=1e-3)


def test_the_nearest_vote_as_in_scikit_learn():
    x, truth = _rows()
    asked, _ = _rows(count=30)
    rows = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    wanted = ((asked - x.mean(0)) / x.std(0, correction=0)).numpy()
    oracle = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: 2 - distance)
    expected = oracle.fit(rows, truth.numpy()).predict(wanted)
    assert nearest_classes(x, truth, asked, 3, 7).tolist() == expected.tolist()


def test_other_classes_are_told_apart(tones, recordings, tmp_path, wavenet):
    """By a network that was trained on the pitch of tones: new names for two of them."""
    for old, new in (("low", "bass"), ("high", "whistle")):
        (tmp_path / "few" / new).mkdir(parents=True)
        for i in range(10):
            shutil.copy(recordings / old / f"{i}.wav", tmp_path / "few" / new)
    command = ("fit-head", tones.run, "--data", tmp_path / "few", "--out", tmp_path / "new")
    done = wavenet(*command)
    assert done.code == 0, done.err
    assert "left out in 5 folds: linear 100.0%, 5 nearest neighbours 100.0%" in done.out
    content = json.loads((tmp_path / "new" / "head.json").read_text())
    assert content["labels"] == ["bass", "whistle"] and content["clips"] == 20
    done = wavenet("predict", tmp_path / "new", recordings / "high" / "11.wav", "--json")
    top = json.loads(done.out)["top"][0]
    assert top["label"] == "whistle"
    done = wavenet("evaluate", tmp_path / "new", "--split", "train")
    assert done.code == 0 and "accuracy 100.00%" in done.out
    before, after = load_model(tones.run).state_dict(), load_model(tmp_path / "new").state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    done = wavenet(*command)
    assert done.code == 2 and "holds a run already; accepted is another folder" in done.err


def test_whole_groups_are_left_out_and_one_clip_of_a_class_is_not_judged(tones, recordings):
    clips = find_clips(recordings / "all.csv")
    model = load_model(tones.run)
    cache = AudioCache(tones.cache, model.config.sample_rate)
    fitted = fit_head(model, clips, ("high", "low", "middle"), cache)
    assert fitted.folds == 3 and fitted.linear == 1.0  # of three persons
    single = [Clip(recordings / label / "0.wav", label) for label in ("high", "low")]
    alone = fit_head(model, single, ("high", "low"), cache)
    assert alone.linear is None and alone.nearest is None and alone.folds == 0


def test_embeddings_of_recordings(tones, recordings, tmp_path, wavenet):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "broken.wav").write_bytes(b"no audio")
    shutil.copy(recordings / "low" / "0.wav", tmp_path / "some" / "low.wav")
    done = wavenet("embed", tones.run, tmp_path / "some", "--out", tmp_path / "x.npz")
    assert done.code == 1 and "1 of 2 recordings could not be read" in done.err
    content = np.load(tmp_path / "x.npz")
    assert content["paths"].tolist() == [str(tmp_path / "some" / "low.wav")]
    model = load_model(tones.run)
    samples, _ = soundfile.read(tmp_path / "some" / "low.wav", dtype="float32")
    with torch.no_grad():
        expected = model.embed(torch.from_numpy(samples).unsqueeze(0)).numpy()
    assert content["embeddings"].dtype == np.float32
    assert np.allclose(content["embeddings"], expected, atol=1e-6)
    done = wavenet("embed", tones.run, tmp_path / "some", "--out", tmp_path / "x.csv")
    assert done.code == 2 and "accepted are names in .npz" in done.err


def test_what_can_not_be_fitted_is_a_sentence(tones, recordings, tmp_path, wavenet):
    with open(tmp_path / "tests.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "split"))
        table.writerows((recordings / c / "0.wav", c, "test") for c in ("low", "high"))
    command = ("fit-head", tones.run, "--out", tmp_path / "new")
    done = wavenet(*command, "--data", tmp_path / "tests.csv")
    assert done.code == 2 and "no clip is left to fit to; all are test clips" in done.err
