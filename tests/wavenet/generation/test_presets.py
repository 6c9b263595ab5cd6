"""Generative models by name."""

from __future__ import annotations

import pytest

import wavenet
from wavenet.creating import GENERATORS
from wavenet.generation.presets import RATES


def test_names():
    assert wavenet.list_models("*vocoder*") == [name for name in GENERATORS if "vocoder" in name]
    assert set(RATES) == set(GENERATORS) <= set(wavenet.list_models())


def test_the_recipes_are_those_of_wavenet_vocoder():
    """Receptive fields and outputs as its authors give them."""
    mol = wavenet.create_model("wavenet-vocoder-mol")
    assert (mol.receptive_field, mol.distribution.channels) == (505, 30)
    assert (mol.config.sample_rate, mol.config.mel.hop) == (22050, 256)
    assert wavenet.create_model("wavenet-vocoder-gaussian").distribution.channels == 2
    codes = wavenet.create_model("wavenet-vocoder-mulaw256", sample_rate=16000)
    assert (codes.receptive_field, codes.distribution.channels) == (6139, 256)
    assert (codes.config.sample_rate, codes.config.mel.sample_rate) == (16000, 16000)


def test_a_small_one_for_words_and_a_flow():
    small = wavenet.create_model("wavenet-fsdd", speakers=("george", "jackson"))
    assert small.config.sample_rate == 8000 and small.config.speakers == ("george", "jackson")
    flow = wavenet.create_model("waveglow-256", sample_rate=8000, channels=4, flows=2)
    assert isinstance(flow, wavenet.WaveGlow) and flow.config.mel.high_hz == 4000.0


def test_what_is_refused():
    with pytest.raises(ValueError, match="labels is given; wavenet-fsdd makes sound and has none"):
        wavenet.create_model("wavenet-fsdd", labels=("a", "b"))
    with pytest.raises(ValueError, match="labels is missing; wavenet-tiny is a classifier"):
        wavenet.create_model("wavenet-tiny")
    with pytest.raises(
        ValueError, match="preset is 'x'; accepted are wavenet-tiny, .*waveglow-256"
    ):
        wavenet.create_model("x")
    with pytest.raises(TypeError, match="channles"):
        wavenet.create_model("wavenet-fsdd", channles=3)
