"""Long recordings: windows, segments, the three forms they are written in."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import soundfile
import torch
from small_runs import MODEL

from wavenet import WaveNetClassifier, WaveNetConfig, load_model
from wavenet.audio import audio_blocks
from wavenet.classifier.inference import (
    Decision,
    classify_stream,
    classify_windows,
    merge_decisions,
)
from wavenet.errors import DataError

LABELS = ("a", "b")


def _decision(start: float, end: float, probability_of_b: float) -> Decision:
    odds = math.log(probability_of_b / (1 - probability_of_b))
    return Decision(start, end, torch.tensor([0.0, odds]), LABELS)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (0.05, [0]),
        (0.2, [0]),
        (0.3, [0, 0.1]),
        (0.35, [0, 0.1, 0.15]),
        (5.0, [round(0.1 * i, 6) for i in range(49)]),
    ],
)
def test_windows(tones, seconds, starts):
    model = load_model(tones.run)
    waveform = torch.rand(round(seconds * 4000)) - 0.5
    decisions = list(
        classify_windows(model, waveform.split(123), window_seconds=0.2, hop_seconds=0.1)
    )
    assert [round(decision.start, 6) for decision in decisions] == starts
    for decision in decisions[-2:]:
        window = waveform[round(decision.start * 4000) : round(decision.end * 4000)]
        with torch.inference_mode():
            torch.testing.assert_close(decision.logits, model(window.unsqueeze(0))[0])


@pytest.mark.parametrize("hop", [0.0, 1.5, math.nan])
def test_hop_fits_the_window(tones, hop):
    with pytest.raises(DataError, match="hop_seconds is .*; accepted is more than 0, up to"):
        list(classify_windows(load_model(tones.run), [], window_seconds=1.0, hop_seconds=hop))


def test_segments_average_what_overlaps():
    decisions = [_decision(0, 2, 0.9), _decision(1, 3, 0.2), _decision(2, 4, 0.4)]
    found = merge_decisions(decisions)
    assert [(s.start, s.end, s.label) for s in found] == [(0, 2, "b"), (2, 4, "a")]
    assert found[0].probability == pytest.approx((0.9 + 0.55) / 2)
    assert found[1].probability == pytest.approx((0.7 + 0.6) / 2)
    sure = merge_decisions(decisions, min_probability=0.65)
    assert [(s.start, s.end, s.label) for s in sure] == [(0, 1, "b"), (2, 3, "a")]
    assert merge_decisions([]) == []
    apart = merge_decisions([_decision(0, 1, 0.9), _decision(2, 3, 0.9)])
    assert [(s.start, s.end) for s in apart] == [(0, 1), (2, 3)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A second each of low, high and middle tone, at another rate than the model's."""
    t = np.arange(11025) / 11025
    tones = [0.4 * np.sin(2 * math.pi * pitch * t) for pitch in (150, 1500, 500)]
    path = tmp_path_factory.mktemp("recording") / "[a].flac"
    noise = 0.02 * np.random.default_rng(0).standard_normal(3 * 11025)
    soundfile.write(path, np.concatenate(tones) + noise, 11025)
    return path


@pytest.mark.parametrize("classify", [classify_windows, classify_stream])
def test_tones_one_after_another(tones, recording, classify):
    model = load_model(tones.run)
    blocks = audio_blocks(recording, 4000)
    found = merge_decisions(list(classify(model, blocks, window_seconds=0.25, hop_seconds=0.125)))
    longest = sorted(sorted(found, key=lambda s: s.start - s.end)[:3], key=lambda s: s.start)
    assert [s.label for s in longest] == ["low", "high", "middle"]
    for i, segment in enumerate(longest):
        assert segment.start == pytest.approx(i, abs=0.3)
        assert segment.end == pytest.approx(i + 1, abs=0.3)


@pytest.mark.parametrize("how", [(), ("--stream",)])
def test_the_command_writes_three_forms(tones, recording, tmp_path, wavenet, how):
    outs = [tmp_path / f"labels.{suffix}" for suffix in ("json", "csv", "txt")]
    options = [part for path in outs for part in ("--out", path)]
    options += ["--window", 0.25, "--hop", 0.125, *how]
    done = wavenet("timeline", tones.run, recording, *options)
    assert done.code == 0, done.err
    content = json.loads(outs[0].read_text())
    assert content["seconds"] == pytest.approx(3) and content["path"] == str(recording)
    assert sum(content["decisions"][0]["probabilities"]) == pytest.approx(1)
    rows = list(csv.DictReader(outs[1].open()))
    track = [line.split("\t") for line in outs[2].read_text().splitlines()]
    assert len(content["segments"]) == len(rows) == len(track) >= 3
    for segment, row, line in zip(content["segments"], rows, track, strict=True):
        assert segment["label"] == row["label"] == line[2]
        assert float(row["start"]) == pytest.approx(segment["start"], abs=1e-3)
        assert float(line[1]) == pytest.approx(segment["end"], abs=1e-6)


def test_the_command_prints_a_table(tones, recording, wavenet):
    done = wavenet("timeline", tones.run, recording, "--min-probability", 0.5)
    assert done.code == 0 and "middle" in done.out and "start, s" in done.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("x.wav", "--out", "a.mp3"), "--out is a.mp3; accepted are names in .json, .csv, .txt"),
        (("x.wav", "--out", "no/a.csv"), "--out is no/a.csv, but there is no folder no"),
        (("x.wav", "--out", "a.csv"), "--out is a.csv, a folder; accepted is a file"),
        (("x.wav", "--window", "inf"), "window_seconds is inf; accepted is more than 0, up to"),
        (("x.wav",), "x.wav: no such file; an audio file is expected"),
        (("x.wav", "--hop", 2), "hop_seconds is 2.0; accepted is more than 0, up to"),
    ],
)
def test_the_command_says_what_is_wrong(tones, tmp_path, monkeypatch, wavenet, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").mkdir()
    done = wavenet("timeline", tones.run, *arguments)
    assert done.code == 2 and sentence in done.err


@pytest.mark.parametrize("option", ["--window=2", "--hop=0.5", "--stream"])
def test_a_model_of_events_has_no_windows(tmp_path, wavenet, option):
    model = WaveNetClassifier(WaveNetConfig(**MODEL, tags=True, events=True))
    model.save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    done = wavenet("timeline", tmp_path / "model", tmp_path / "a.wav", option)
    name = option.partition("=")[0]
    assert done.code == 2 and f"{name} is given; accepted is none: a model of events" in done.err
    assert wavenet("timeline", tmp_path / "model", tmp_path / "a.wav").code == 0
