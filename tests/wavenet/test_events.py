"""Strong labels: read, learned frame by frame, measured as DCASE does, printed by a timeline."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_runs import MODEL, RATE, quiet, small_config

from wavenet import WaveNetClassifier, WaveNetConfig, load_model
from wavenet.classifier import cross_validation as crossing
from wavenet.classifier.choosing import choose_settings
from wavenet.classifier.data import AudioCache, Clip, ClipDataset, DataConfig, Draw, labels_of
from wavenet.classifier.data.clips import Event
from wavenet.classifier.data.events import (
    find_events,
    frame_targets,
    parse_label_track,
    read_label_track,
)
from wavenet.classifier.inference.evaluate import choose_clips, classify
from wavenet.classifier.inference.event_metrics import EventMetrics, events_of, matches
from wavenet.classifier.inference.events import events_in, frame_logits, hear, measure_events
from wavenet.classifier.run_folder import read_clips
from wavenet.classifier.training import train
from wavenet.errors import ConfigError, DataError


def test_events_of_a_manifest(tmp_path):
    rows = ["a.wav,rain,0.5,2", "a.wav,dog,0.5,2", "b.wav,,,", "a.wav,dog,3,4.5"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,onset,offset", *rows]))
    first, second = find_events(tmp_path / "list.csv")
    assert first.events == (Event(0.5, 2, "dog"), Event(0.5, 2, "rain"), Event(3, 4.5, "dog"))
    assert first.tags == ("dog", "rain") and second.tags == second.events == ()
    (tmp_path / "list.csv").write_text("path,label,onset,offset\na.wav,dog,1,\n")
    with pytest.raises(DataError, match="the event 'dog' has no end"):
        find_events(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text("path,label,onset,offset\na.wav,,,\n")
    with pytest.raises(DataError, match="none of its 1 recordings has an event"):
        find_events(tmp_path / "list.csv")


@pytest.mark.parametrize("separator", ["", "+"])
def test_what_is_picked_for_several_labels(tmp_path, separator):
    """Without a configuration: nothing that moves sound away from its labels' times."""
    soundfile.write(tmp_path / "a.wav", np.ones(800), 8000)
    (tmp_path / "list.csv").write_text("path,label,onset,offset\na.wav,dog+rain,0,1\n")
    source = str(tmp_path / "list.csv")
    data = DataConfig(source=source, label_separator=separator, events=not separator)
    picked = {one.field: one.value for one in choose_settings(data)}
    assert picked["model.sample_rate"] == 8000
    assert ("augmentation.shift_ms" in picked) == bool(separator)


def test_lines_of_a_label_track():
    text = "0\t1\tx\u2028y\r\n\n\\\t100\t200\r\n1,5\t2\tz"
    assert parse_label_track(text, "it") == [Event(0, 1, "x\u2028y"), Event(1.5, 2, "z")]


def test_label_tracks_beside_recordings(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.ones(800), RATE)
    (tmp_path / "a.txt").write_text("0,5\t1.5\tdog bark\n\\\t100\t2000\n1.0\t1.25\tcat\n")
    with pytest.warns(UserWarning, match="1 recordings without a label track"):
        (clip,) = find_events(tmp_path)
    assert clip.events == (Event(0.5, 1.5, "dog bark"), Event(1.0, 1.25, "cat"))
    (tmp_path / "a.txt").write_text("1.0\t0.5\tcat\n")
    with pytest.raises(DataError, match="a.txt, line 1: is .*; accepted are start, end and label"):
        read_label_track(tmp_path / "a.txt")


def test_frames_follow_the_crop(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.linspace(0, 0.9, 8000), 8000)
    events = (Event(0.25, 0.5, "x"), Event(0.4, 0.75, "y"))
    clip = Clip(tmp_path / "a.wav", "x, y", tags=("x", "y"), events=events)
    cache = AudioCache(tmp_path / "cache", 8000)
    dataset = ClipDataset([clip], ("x", "y"), cache, training=True, max_samples=3000)
    for epoch in range(5):
        draw = Draw(0, epoch)
        waveform, _ = dataset[draw]
        start = round(float(waveform[0]) / 0.9 * 7999)
        expected = frame_targets(events, ("x", "y"), start / 8000, 38, 0.01)
        assert torch.equal(dataset.frames_of(draw, 80), expected)
    whole = frame_targets(events, ("x", "y"), 0.0, 100, 0.01)
    assert whole.sum(0).tolist() == [25, 35] and whole[25, 0] == 1 and whole[24, 0] == 0


def test_events_are_runs_of_frames():
    p = np.zeros((100, 2))
    p[10:30, 0] = p[35:50, 0] = p[80:90, 0] = 0.7  # the first gap is too short for one
    p[:, 1] = 0.55
    found = events_of(p, ("a", "b"), (0.5, 0.6), 0.01)
    assert [tuple(e) for e in found] == [(0.1, 0.5, "a"), (pytest.approx(0.8), 0.9, "a")]


def test_events_agree_within_collars():
    known = [Event(0, 1, "a"), Event(2, 6, "a"), Event(8, 8.1, "a")]
    assert matches(known, [Event(0.19, 1.4, "a"), Event(2.1, 4.1, "a"), Event(8, 8.29, "a")]) == 3
    assert matches(known, [Event(0.21, 1, "a"), Event(2, 3.9, "a"), Event(8, 8.4, "a")]) == 0
    # As many as possible: the first of two that fit the same leaves it to the other.
    assert (
        matches([Event(0, 1, "a"), Event(0.3, 1.2, "a")], [Event(0.15, 1, "a"), Event(0.1, 1, "a")])
        == 2
    )
    metrics = EventMetrics.of(
        ("a", "b"),
        [[Event(0.5, 2.5, "a")], [Event(0, 1, "b")]],
        [[Event(0.5, 1.9, "a"), Event(3, 4, "a")], []],
        [4.0, 2.0],
        0.3,
    )
    a, b = metrics.per_class
    assert (a["event_precision"], a["event_recall"]) == (0.5, 1.0)
    assert a["segment_f1"] == pytest.approx(2 * 2 / (3 + 3)) and b["event_f1"] == 0
    assert metrics.figures["event_f1"] == pytest.approx(2 / 4)
    assert metrics.figures["event_macro_f1"] == pytest.approx((2 / 3) / 2)


@pytest.mark.parametrize("fields", [{}, {"clip_norm": True}])
def test_frames_in_blocks_are_those_of_the_whole(fields):
    torch.manual_seed(0)
    model = WaveNetClassifier(WaveNetConfig(**MODEL, tags=True, events=True, **fields)).eval()
    waveform = torch.rand(8000 * 2 + 37) - 0.5
    with torch.inference_mode():
        whole, lengths = model.forward_frames(waveform.unsqueeze(0))
        clip = model(waveform.unsqueeze(0))
    streamed = frame_logits(model, waveform.split(999))
    assert int(lengths) == len(streamed) == 201
    torch.testing.assert_close(streamed, whole[0])
    torch.testing.assert_close(clip[0], whole[0].amax(0))
    padded = torch.nn.functional.pad(waveform, (0, 5000)).unsqueeze(0)
    with torch.inference_mode():
        torch.testing.assert_close(model(padded, torch.tensor([len(waveform)])), clip)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Recordings of two seconds with a low and a high tone at random times; and a run."""
    folder = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    rows = []
    for number in range(24):
        t = np.arange(2 * RATE) / RATE
        sound = 0.02 * random.standard_normal(t.size)
        split = "validation" if number < 8 else "train"
        for label, pitch in (("low", 150), ("high", 1200)):
            onset = random.uniform(0, 1.2)
            offset = onset + random.uniform(0.4, 0.8)
            heard = (t >= onset) & (t < offset)
            sound[heard] += 0.3 * np.sin(2 * np.pi * pitch * t[heard])
            rows.append((f"{number}.wav", label, f"{onset:.3f}", f"{offset:.3f}", split))
        soundfile.write(folder / f"{number}.wav", sound, RATE)
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "onset", "offset", "split"), *rows])
    still = ["augmentation.shift_ms=0", "data.events=true", "training.epochs=10"]
    mixed = ["augmentation.mixup_alpha=0.5", "augmentation.mixup_probability=0.3"]
    config = small_config(
        folder, folder, *still, *mixed, "data.max_seconds=1.5", f"data.source={folder / 'list.csv'}"
    )
    train(config, folder / "run", console=quiet())
    return folder


def test_a_run_learns_when(scenes, wavenet):
    run = scenes / "run"
    model = load_model(run)
    assert model.config.events and labels_of(read_clips(run)[0]) == ["high", "low"]
    done = wavenet("evaluate", run)
    assert done.code == 0 and "event-based F1" in done.out, done.err
    figures = json.loads((run / "metrics.json").read_text())["events"]
    assert figures["segment_f1"] > 0.85 and figures["event_f1"] > 0.5
    assert "segment-based F1" in wavenet("info", run).out
    t = np.arange(3 * RATE) / RATE
    sound = 0.02 * np.random.default_rng(5).standard_normal(t.size)
    sound[RATE : 2 * RATE] += 0.3 * np.sin(2 * np.pi * 1200 * t[:RATE])
    found, seconds = events_in(model, [torch.from_numpy(sound).float()])
    longest = max(found, key=lambda segment: segment.end - segment.start)
    assert longest.label == "high" and seconds == pytest.approx(3)
    assert (longest.start, longest.end) == pytest.approx((1, 2), abs=0.15)
    soundfile.write(scenes / "new.wav", sound, RATE)
    done = wavenet("timeline", run, scenes / "new.wav", "--out", scenes / "new.json")
    assert done.code == 0, done.err
    content = json.loads((scenes / "new.json").read_text())
    assert content["segments"][0]["label"] == found[0].label and content["labels"] == [
        "high",
        "low",
    ]
    done = wavenet("report", run, "--out", scenes / "report.html")
    assert "event-based F1" in (scenes / "report.html").read_text(), done.err


def test_what_is_said_of_recordings_is_said_of_whole_ones(scenes):
    """They are longer than data.max_seconds, and have their labels anywhere."""
    model = load_model(scenes / "run")
    chosen = choose_clips(scenes / "run", model.config, None, None)
    logits, _ = classify(model, chosen.clips, chosen.cache, max_samples=chosen.max_samples)
    heard = hear(model, chosen.clips, chosen.cache)
    torch.testing.assert_close(logits, torch.stack([one.logits.amax(0) for one in heard]))
    figures = crossing._figures(model, chosen)
    result = crossing.CrossValidation("fold", model.config.labels, [{"name": "1", **figures}])
    expected = measure_events(model.config, heard).figures
    assert result.as_dict(1)["event_f1"]["mean"] == pytest.approx(expected["event_f1"])
    assert figures["loss"] != pytest.approx(expected["loss"])  # of clips, beside the map


def test_every_weight_of_a_model_of_events_learns(scenes, tmp_path):
    """Also of a preset that pools by attention: else it could not be resumed."""
    more = ["augmentation.shift_ms=0", "data.events=true", "model.pooling=attention"]
    more += ["data.max_seconds=1", f"data.source={scenes / 'list.csv'}"]
    config = small_config(scenes, scenes, *more, "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    assert train(config, tmp_path / "run", console=quiet(), resume=True).epochs == 1
    assert load_model(tmp_path / "run").config.pooling == "mean"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("augmentation.speed=[0.9,1.1]", "augmentation.speed is set; it moves or removes sound"),
        ("data.label_separator=;", "label_separator is ';'; accepted is empty where events"),
        ("training.best_by=map", "training.best_by is 'map'; accepted with data.events"),
        ("model.next_sample_weight=0.1", "model.next_sample_weight is set"),
    ],
)
def test_what_events_do_not_go_with(tmp_path, override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        small_config(tmp_path, tmp_path, "augmentation.shift_ms=0", "data.events=true", override)
