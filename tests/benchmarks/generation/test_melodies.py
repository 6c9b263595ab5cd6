"""The ear that judges what is played, and the program around it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.generation import melodies
from wavenet.classifier.data.synth import INSTRUMENTS, melody
from wavenet.data.notes import hz_of

RATE = 8000


@pytest.mark.parametrize("instrument", sorted(INSTRUMENTS))
def test_the_ear_hears_what_is_played(instrument):
    made = [
        melody(instrument, np.random.default_rng(seed), sample_rate=RATE, seconds=1.0)
        for seed in range(12)
    ]
    heard = melodies.listen(
        [one.samples for one in made], [one.notes for one in made], [instrument] * 12, RATE
    )
    assert len(heard) > 30 and all(one.followed for one in heard)
    assert max(abs(one.off) for one in heard) < 0.2
    others = [one.notes for one in (*made[1:], made[0])]
    crossed = melodies.listen([one.samples for one in made], others, [instrument] * 12, RATE)
    assert melodies.said_of(crossed)["within_half_a_semitone"] < 0.3


def test_the_ear_tells_neighbours_and_octaves_apart_and_hears_no_pitch_in_noise():
    t = np.arange(800) / RATE
    for pitch in (48, 49, 60, 71, 72):
        for harmonics in ((1.0,), (0.3, 1.0, 0.8), (1.0, 0.0, 0.5)):
            tone = sum(
                level * np.sin(2 * np.pi * number * hz_of(pitch) * t)
                for number, level in enumerate(harmonics, start=1)
            )
            assert melodies.pitch_of(tone, RATE) == pytest.approx(hz_of(pitch), rel=0.01)
    assert melodies.pitch_of(np.random.default_rng(0).standard_normal(800), RATE) is None
    assert melodies.pitch_of(np.zeros(800), RATE) is None
    assert melodies.pitch_of(np.ones(10), RATE) is None


@pytest.mark.slow
def test_a_model_is_trained_and_listened_to(tmp_path, monkeypatch):
    monkeypatch.setattr(melodies, "BUILD", tmp_path)
    sizes = ("residual_channels=6", "dilation_channels=6", "skip_channels=8", "stacks=1")
    settings = [*(f"model.{size}" for size in sizes), "training.epochs=1"]
    settings += [f"data.cache={tmp_path / 'cache'}"]
    work = ["--work", str(tmp_path / "work"), "--clips-per-class", "5"]
    melodies.main([*work, "--set", *settings])
    said = json.loads((tmp_path / "melodies.json").read_text())
    assert said["recordings"]["within_half_a_semitone"] == 1.0
    assert said["generated"]["notes"] == said["recordings"]["notes"] > 8
    assert said["commit"] and 0 < said["test_bits_per_sample"] < 9
