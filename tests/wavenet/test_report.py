"""Noise curve, calibration, and the report, also as a browser shows it."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from wavenet import WaveNetClassifier, load_model
from wavenet.classifier.data import AudioCache, Clip, ClipDataset, find_clips, select
from wavenet.classifier.inference import evaluate
from wavenet.classifier.inference.calibration import measure_calibration
from wavenet.classifier.inference.noise_curve import measure_noise_curve, parse_snrs
from wavenet.classifier.inference.tag_metrics import TagMetrics
from wavenet.classifier.report import mistakes
from wavenet.classifier.run_config import load_config
from wavenet.errors import DataError


def test_calibration_against_the_definition():
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 4, generator=random)
    targets = torch.randint(0, 4, (500,), generator=random)
    found = measure_calibration(logits, targets, bins=10)
    assert found.counts.sum() == 500
    confidence, predicted = (t.numpy() for t in logits.double().softmax(1).max(1))
    right = predicted == targets.numpy()
    gap = 0.0
    for i in range(10):
        inside = (confidence > i / 10) & (confidence <= (i + 1) / 10)
        assert found.counts[i] == inside.sum()
        if inside.any():
            gap += inside.sum() / 500 * abs(confidence[inside].mean() - right[inside].mean())
    assert found.ece == pytest.approx(gap)
    assert found.picture().startswith(b"\x89PNG")


def test_sure_and_right_is_calibrated():
    found = measure_calibration(torch.tensor([[50.0, 0.0], [0.0, 50.0]]), torch.tensor([0, 1]))
    assert found.ece == pytest.approx(0) and found.counts[-1] == 2


def test_of_a_long_mistake_the_beginning_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(mistakes, "LONGEST_SOUND_SECONDS", 0.5)
    soundfile.write(tmp_path / "a.wav", np.ones(4000) / 2, 4000)
    cache = AudioCache(tmp_path / "cache", 4000)
    dataset = ClipDataset([Clip(tmp_path / "a.wav", "x")], ("x", "y"), cache)
    logits, targets = torch.tensor([[0.0, 1.0]]), torch.tensor([0])
    found = mistakes.mistakes_of_classes(("x", "y"), logits, targets)
    (mistake,) = mistakes.worst_mistakes(dataset, found)
    assert mistake.surely == "73.1 % against 26.9 %"
    sound = base64.b64decode(mistake.sound.partition(",")[2])
    assert soundfile.info(io.BytesIO(sound)).duration == 0.5
    assert mistake.seconds == 1 and mistake.is_cut


@pytest.fixture(scope="module")
def test_clips(tones):
    return select(find_clips(tones.manifest), split="test"), AudioCache(tones.cache, 4000)


def test_noise_costs_accuracy_and_is_the_same_every_time(tones, test_clips):
    model = load_model(tones.run)
    curve = measure_noise_curve(model, *test_clips, [-30.0, 60.0, 60.0])
    assert list(curve.noisy) == [60.0, -30.0]
    assert curve.clean.accuracy == evaluate(model, *test_clips).accuracy
    assert curve.noisy[60.0].accuracy == curve.clean.accuracy > curve.noisy[-30.0].accuracy
    again = evaluate(model, *test_clips, snr_db=-30.0, batch_size=2)
    assert np.array_equal(again.confusion, curve.noisy[-30.0].confusion)
    assert curve.picture().startswith(b"\x89PNG")
    assert curve.as_dict()["points"][1]["snr_db"] == -30.0
    with pytest.raises(DataError, match="snrs_db is .*; accepted are numbers from -200"):
        measure_noise_curve(model, *test_clips, [])


def test_noise_is_as_loud_as_said():
    from wavenet.classifier.inference.evaluate import _with_noise

    waveform = torch.zeros(2, 40000)
    waveform[0] = 0.1
    waveform[1, :20000] = torch.linspace(-1, 1, 20000)
    lengths = torch.tensor([40000, 20000])
    noisy = _with_noise(waveform, lengths, [0, 1], 6.0)
    assert not noisy[1, 20000:].any()
    for row, clean, length in zip(noisy, waveform, lengths, strict=True):
        noise, signal = (row - clean)[:length].square().mean(), clean[:length].square().mean()
        assert float(10 * torch.log10(signal / noise)) == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("text", ["", "a", "10,", "nan", "10;5", "-1e5", "inf"])
def test_ratios_are_numbers(text):
    with pytest.raises(DataError, match=f"--snr is '{text}'; accepted are numbers in dB"):
        parse_snrs(text)


def test_evaluate_writes_the_curve(tones, tmp_path, wavenet):
    done = wavenet("evaluate", tones.run, "--snr", "20,-30", "--out", tmp_path)
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "noise_curve.json").read_text())
    assert [point["snr_db"] for point in content["points"]] == [20, -30]
    assert (
        content["clean"]["accuracy"]
        == json.loads((tmp_path / "metrics.json").read_text())["accuracy"]
    )
    assert (tmp_path / "noise_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "white noise at -30 dB: accuracy" in done.out
    done = wavenet("evaluate", tones.run, "--snr", "loud")
    assert done.code == 2 and "--snr is 'loud'" in done.err


def test_a_tag_is_mistaken_by_its_threshold():
    """Not by the half: as many clips are shown as the figures count."""
    truth = np.array([[True, False], [False, True], [True, False], [False, False]])
    scores = np.array([[0.45, 0.1], [0.3, 0.6], [0.2, 0.7], [0.1, 0.55]])
    metrics = TagMetrics(("x", "y"), truth, scores, np.array([0.4, 0.65]), 0.0)
    found = mistakes.mistakes_of_tags(metrics)
    assert len(found) == round(metrics.clips * (1 - metrics.exact)) == 2
    assert [tuple(one) for one in found] == [
        (2, "x", "not x", "20.0 %, said from 40.0 % on"),
        (1, "y", "not y", "60.0 %, said from 65.0 % on"),
    ]


@pytest.fixture(scope="module")
def swapped(tones):
    """The test clips with two labels swapped: mistakes on purpose."""
    other = {"low": "high", "high": "low", "middle": "middle"}
    with open(tones.manifest, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    path = tones.manifest.with_name("swapped.csv")
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label"))
        table.writerows((row["path"], other[row["label"]]) for row in rows)
    return path


@pytest.fixture(scope="module")
def written(tones, swapped, tmp_path_factory):
    """The report on the swapped clips."""
    from typer.testing import CliRunner

    from wavenet.cli import application

    out = tmp_path_factory.mktemp("report") / "<b>[report].html"
    command = ["report", str(tones.run), "--data", str(swapped), "--out", str(out)]
    done = CliRunner().invoke(application(), [*command, "--snr", "10,0", "--mistakes", "4"])
    assert done.exit_code == 0, done.output
    return out


def test_the_report_says_it_all(written):
    text = written.read_text()
    for heading in ("Data", "Training", "Classes", "Calibration and noise", "Worst mistakes"):
        assert f"<h2>{heading}" in text
    for said in ("receptive field", "times real time", "calibration error", "macro-F1", "10 dB"):
        assert said in text
    assert text.count("<audio") == 4 and "low</b> taken for <b>high" in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_report_in_a_browser(written, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    assert page.title().endswith("report")
    assert page.locator("img").count() == 4 + 4
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 100)")
    for player in page.locator("audio").all():
        player.evaluate("p => p.load()")
        assert player.evaluate(
            "p => new Promise(done => p.duration ? done(p.duration) :"
            " p.onloadedmetadata = () => done(p.duration))"
        ) == pytest.approx(0.2, abs=0.1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert page.complaints == []


def test_the_report_says_how_the_run_was_trained(tones, tmp_path, wavenet):
    run = shutil.copytree(tones.run, tmp_path / "run")
    told = ["training.ema_decay=0.99", "training.patience=1", "training.init_from=runs/first"]
    load_config(run / "train.yaml", [*told, "augmentation.polarity=true"]).save(run / "train.yaml")
    rows = (run / "metrics.csv").read_text().splitlines()
    later = "16," + rows[-1].partition(",")[2]  # no better than the epoch before
    (run / "metrics.csv").write_text("\n".join([*rows, later]))
    config = dataclasses.replace(load_model(run).config, next_sample_weight=0.1)
    WaveNetClassifier(config).save_pretrained(run)
    done = wavenet("report", run, "--snr", "", "--mistakes", 0)
    assert done.code == 0, done.err
    text = (run / "report.html").read_text()
    for said in (
        "It started from runs/first.",
        "moving average of the weights, decay 0.99.",
        "stopped early, after 1 epoch(s) without a better one.",
        "prediction of the next sample in it, with weight 0.1;",
        "<td>polarity</td><td>True</td>",
    ):
        assert said in text
    assert "<td>mask_ms" not in text  # off


def test_a_report_of_a_model_alone(tones, swapped, tmp_path, wavenet):
    """A saved model without the rest of its run, and without a noise curve."""
    load_model(tones.run).save_pretrained(tmp_path / "model")
    done = wavenet("report", tmp_path / "model", "--data", swapped, "--snr", "", "--mistakes", 0)
    assert done.code == 0, done.err
    text = (tmp_path / "model" / "report.html").read_text()
    assert "was not trained in it" in text and "Accuracy against noise" not in text
    assert "6 of 9 clips are mistaken; none was to be shown" in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--out", "no/where.html"), "--out is no/where.html, but there is no folder no"),
        (("--snr", "x"), "--snr is 'x'; accepted are numbers"),
        (("--split", "dev"), "--split is 'dev'; accepted are"),
    ],
)
def test_the_command_says_what_is_wrong(tones, wavenet, options, sentence):
    done = wavenet("report", tones.run, *options)
    assert done.code == 2 and sentence in done.err
