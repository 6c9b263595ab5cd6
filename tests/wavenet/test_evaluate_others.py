"""`wavenet evaluate --data`: what the figures leave out, and what they have seen before."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from wavenet import load_model
from wavenet.classifier.inference.evaluate import choose_clips


@pytest.fixture
def others(recordings, tmp_path):
    """The run's recordings once more, without a manifest."""
    for label in ("low", "middle", "high"):
        shutil.copytree(recordings / label, tmp_path / "others" / label)
    return tmp_path / "others"


def test_a_class_with_another_name_is_counted_everywhere(tones, others, tmp_path, wavenet):
    (others / "high").rename(others / "shrill")
    done = wavenet("evaluate", tones.run, "--data", others, "--out", tmp_path / "out")
    assert done.code == 0
    said = " ".join(done.out.split())
    assert "12 of 36 clips are left out of all figures, 12 of them with labels that" in said
    assert "does not know: shrill (12)" in said
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["left_out"] == 12 and content["unknown_labels"] == {"shrill": 12}


def test_clips_that_it_was_trained_on_are_announced(tones, others, tmp_path, wavenet):
    """Copies are known by their content: another one of the same name is not."""
    shutil.copy(others / "low" / "5.wav", others / "low" / "6.wav")
    trained = sum(clip.split == "train" for clip in _clips(tones, None, "all").clips)
    done = wavenet("evaluate", tones.run, "--data", others, "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["split"] == "all" and trained - 1 <= content["trained_on"] < 36
    assert f"{content['trained_on']} of 36 clips are ones that this run was trained on" in done.out


def _clips(tones, data, split):
    return choose_clips(tones.run, load_model(tones.run).config, data, split)


def test_recordings_that_have_moved_keep_the_splits_of_the_run(tones, others, monkeypatch):
    before = _clips(tones, None, None)
    original = os.path.realpath(tones.manifest.parent)
    exists = type(others).exists
    monkeypatch.setattr(
        type(others), "exists", lambda path: exists(path) and not str(path).startswith(original)
    )
    chosen = _clips(tones, others, None)
    assert chosen.moved and chosen.split == before.split == "test" and chosen.trained_on == 0
    assert {clip.path.relative_to(others) for clip in chosen.clips} == {
        clip.path.relative_to(tones.manifest.parent.resolve()) for clip in before.clips
    }
    assert "moved: its splits are gone by" in " ".join(chosen.remarks())
    everything = _clips(tones, others, "all")
    assert len(everything.clips) == 36 and everything.trained_on > 12


def test_the_runs_own_figures_stay_what_they_are(tones, others, tmp_path, wavenet):
    run = shutil.copytree(tones.run, tmp_path / "run")
    wavenet("evaluate", run)
    before = (run / "metrics.json").read_bytes()
    assert wavenet("evaluate", run, "--data", others, "--split", "all").code == 0
    assert (run / "metrics.json").read_bytes() == before
    assert json.loads((run / "others" / "others" / "metrics.json").read_text())["clips"] == 36


def test_recordings_of_one_name_in_two_places_have_figures_each(tones, others, tmp_path, wavenet):
    run = shutil.copytree(tones.run, tmp_path / "run")
    again = shutil.copytree(others, tmp_path / "elsewhere" / "others")
    for data in (others, again, others, again):
        assert wavenet("evaluate", run, "--data", data, "--split", "all").code == 0
    said = {
        path.parent.name: json.loads(path.read_text())["data"]
        for path in (run / "others").glob("*/metrics.json")
    }
    assert said == {"others": str(others), "others-2": str(again)}


def test_a_run_that_is_read_only_is_said_before_the_work(tones, wavenet, monkeypatch):
    access = os.access  # root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    done = wavenet("evaluate", tones.run)
    assert done.code == 2 and "can't be written to; accepted is an --out that can" in done.err
