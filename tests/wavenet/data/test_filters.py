"""What recordings go through before a network, and back."""

from __future__ import annotations

import pytest
import torch

from wavenet.audio.filters import (
    DeEmphasis,
    high_pass,
    high_pass_taps,
    pre_emphasize,
    trim_silence,
)


def test_the_high_pass_is_scipys():
    signal = pytest.importorskip("scipy.signal")
    taps = torch.from_numpy(signal.firwin(255, 70, pass_zero=False, fs=22050))
    assert torch.allclose(high_pass_taps(70, 22050), taps, rtol=0, atol=1e-15)
    torch.manual_seed(0)
    x = torch.randn(2, 1000)
    expected = torch.from_numpy(signal.lfilter(taps.numpy(), 1, x.numpy()))
    assert torch.allclose(high_pass(x, 70, 22050).double(), expected, atol=1e-6)


def test_what_is_low_goes():
    t = torch.arange(22050) / 22050
    hum, tone = (torch.sin(2 * torch.pi * hz * t)[None] for hz in (20, 1000))
    assert high_pass(hum, 70, 22050)[:, 500:].abs().max() < 0.8
    assert torch.allclose(high_pass(tone, 70, 22050)[:, 627:], tone[:, 500:-127], atol=0.01)


def test_pre_emphasis_and_back_in_any_chunks():
    torch.manual_seed(1)
    x = torch.randn(2, 300)
    emphasized = pre_emphasize(x, 0.85)
    undo = DeEmphasis(0.85, 2)
    chunks = [undo(chunk) for chunk in emphasized.split([1, 100, 0, 199], dim=1)]
    whole = DeEmphasis(0.85, 2)(emphasized)
    assert torch.equal(torch.cat(chunks, dim=1), whole)
    assert torch.allclose(whole, x, atol=1e-6)


def test_where_sound_is():
    y = 1e-5 * torch.sin(0.7 * torch.arange(20000, dtype=torch.float64))
    y[5000:9000] += 0.3 * torch.sin(0.1 * torch.arange(4000, dtype=torch.float64))
    assert trim_silence(y) == (4096, 10240)  # what librosa 0.11 says
    assert trim_silence(torch.zeros(5000)) == (0, 0)
    assert trim_silence(torch.ones(5000)) == (0, 5000)
