"""The figures of trained generative models."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.generation import speech

SIZES = ("residual_channels=6", "dilation_channels=6", "skip_channels=8", "stacks=1")
MEL = "{n_fft: 128, hop: 32, window: 128, mels: 20, low_hz: 0, high_hz: 2000}"


@pytest.mark.slow
def test_a_vocoder_is_trained_compared_and_heard(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "BUILD", tmp_path)
    (tmp_path / "config.yaml").write_text("model: {architecture: wavenet, distribution: logistic}")
    settings = [f"model.{size}" for size in (*SIZES, "sample_rate=4000", "layers_per_stack=4")]
    settings += [f"model.mel={MEL}", "training.epochs=1", "training.batch_size=8"]
    settings += ["data.validation_by_group=false", f"data.cache={tmp_path / 'cache'}"]
    command = [str(tmp_path / "config.yaml"), str(tones.manifest), "--name", "x", "--every", "3"]
    where = ["--run", str(tmp_path / "run"), "--classifier", str(tones.run)]
    speech.main([*command, *where, "--set", *settings])
    said = json.loads((tmp_path / "speech-x.json").read_text())
    assert said["counted"] == "one of 65536 values of a sample" and said["test_clips"] == 9
    assert 0 < said["test_bits_per_sample"] < 20 and said["commit"] and said["steps"] > 0
    copied = said["copy_synthesis"]
    assert copied["clips"] == 3 and copied["classifier"]["real"] == 1.0
    distances = {
        name: copied[name]["log_spectral_distance_db"]
        for name in ("model", "griffin_lim", "refined", "refined_noise")
    }
    assert 0 < distances["refined"] < distances["model"]
    assert 0 < distances["griffin_lim"] < 15 and 0 < distances["refined_noise"] < 15


def test_sigma_is_the_one_whose_copies_are_nearest(monkeypatch):
    random = np.random.RandomState(0)
    clips = [0.1 * random.randn(900).astype(np.float32) for _ in range(3)]
    chosen = SimpleNamespace(clips=range(3), cache=SimpleNamespace(open_clip=clips.__getitem__))
    model = SimpleNamespace(config=SimpleNamespace(sample_rate=8000))
    monkeypatch.setattr(speech, "vocoded", lambda _, wave, sigma: wave * (1 + abs(sigma - 0.7)))
    sigma, said = speech.chosen_sigma(model, chosen)
    assert sigma == 0.7 and said["sigma_chosen_on"]["validation_clips"] == 3
    distances = said["sigma_chosen_on"]["distance_db"]
    assert list(distances) == [str(each) for each in speech.SIGMAS] and distances["0.7"] == 0.0
