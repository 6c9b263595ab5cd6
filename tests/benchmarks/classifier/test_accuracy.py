"""The program that writes what a classifier gets: of a split, and of groups left out."""

from __future__ import annotations

import json

import pytest

from benchmarks.classifier import accuracy


@pytest.mark.slow
@pytest.mark.parametrize("parts", [[], ["--leave-one-group-out"]])
def test_a_run_starts_from_a_trained_model(parts, tones, tmp_path, monkeypatch):
    """With its sizes, and its weights: an epoch from random ones gives a third."""
    config = tmp_path / "short.yaml"
    config.write_text("training: {epochs: 1, device: cpu}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accuracy, "BUILD", tmp_path)
    options = ["--name", "tones", "--from", str(tones.run), "--set", f"data.cache={tones.cache}"]
    accuracy.main([str(config), str(tones.manifest), *options, *parts])
    record = json.loads((tmp_path / "classifier-tones.json").read_text())
    assert record["from"] == str(tones.run)
    assert record["test_accuracy"] >= 0.9
    assert {"protocol", "versions", "device", "commit", "date"} <= record.keys()
