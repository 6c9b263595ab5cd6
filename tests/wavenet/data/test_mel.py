"""The mel front-end against librosa's numbers, and at its edges."""

from __future__ import annotations

import pytest
import torch

from wavenet.data.mel import MelConfig, mel_filterbank, mel_spectrogram
from wavenet.errors import DataError


def _sound():
    t = torch.arange(3001, dtype=torch.float64)
    low, high = torch.sin(0.03 * t + 2e-5 * t * t), torch.sin(1.1 * t)
    return (0.4 * low + 0.2 * high + 0.05 * torch.cos(2.5 * t * (1 + 1e-4 * t)))[None]


# Of librosa 0.11: librosa.filters.mel (float64) times the magnitudes of librosa.stft.
TACOTRON2 = {(0, 0): 0.385683, (3, 5): -3.438417, (20, 11): -1.958014, (41, 2): -11.512925}
TACOTRON2 |= {(60, 7): -3.547908, (79, 10): -6.428238}
VOCODER = {(0, 0): 0.328817, (3, 5): 0.421592, (20, 11): -0.955658, (41, 2): -5.658196}
VOCODER |= {(60, 7): -2.502917, (79, 10): -3.132924}


@pytest.mark.parametrize(
    ("config", "stored"), [(MelConfig.tacotron2(), TACOTRON2), (MelConfig.vocoder(), VOCODER)]
)
def test_librosas_numbers(config, stored):
    mel = mel_spectrogram(_sound().float().double(), config)
    assert mel.shape == (1, 80, 12) and config.frames(3001) == 12
    for (channel, frame), value in stored.items():
        assert mel[0, channel, frame].item() == pytest.approx(value, abs=2e-6)
    narrow = mel_spectrogram(_sound().float(), config)
    assert narrow.dtype == torch.float32
    loud = mel > -3
    assert torch.allclose(narrow[loud].double(), mel[loud], atol=1e-3)


def test_librosas_filters():
    bank = mel_filterbank(22050, 1024, 80, 125.0, 7600.0)
    for channel, bin_, value in (
        (0, 7, 0.020908028599822708),
        (40, 83, 0.015327208709265771),
        (79, 340, 0.003644628684731358),
    ):
        assert bank[channel].argmax() == bin_
        assert bank[channel, bin_].item() == pytest.approx(value, rel=1e-12)


def test_a_window_shorter_than_the_transform_and_a_clip_shorter_than_the_window():
    config = MelConfig(16000, 512, 100, 400, 20, 50.0, 7000.0, "ln", 1e-5)
    mel = mel_spectrogram(_sound()[:, :300].float().double(), config)
    assert mel.shape == (1, 20, 4)
    for (channel, frame), value in {
        (0, 0): -1.298863,
        (10, 3): -4.649823,
        (19, 1): -4.115175,
    }.items():
        assert mel[0, channel, frame].item() == pytest.approx(value, abs=2e-6)
    assert mel_spectrogram(torch.ones(2, 1), config).shape == (2, 20, 1)


@pytest.mark.parametrize("padding", ["reflect", "lws"])
@pytest.mark.parametrize("compression", ["ln", "log10", "db"])
def test_silence_and_gradients(padding, compression):
    config = MelConfig(8000, 64, 16, 64, 5, 0.0, 4000.0, compression, padding=padding)
    x = torch.zeros(1, 100)
    x[0, 50:] = torch.randn(50)
    x.requires_grad_()
    mel = mel_spectrogram(x, config)
    assert mel.isfinite().all() and mel.shape[2] == config.frames(100)
    mel.sum().backward()
    assert x.grad.isfinite().all()


def test_normalisation():
    config = MelConfig(8000, 64, 16, 64, 2, 0.0, 4000.0, mean=[1.0, 2.0], std=[0.5, 2.0])
    plain = MelConfig(8000, 64, 16, 64, 2, 0.0, 4000.0)
    x = torch.randn(1, 100)
    expected = (mel_spectrogram(x, plain) - torch.tensor([[1.0], [2.0]])) / torch.tensor(
        [[0.5], [2.0]]
    )
    assert torch.allclose(mel_spectrogram(x, config), expected)
    assert MelConfig(**config.as_dict()) == config


def test_what_is_refused():
    with pytest.raises(DataError, match=r"waveform has shape \(5,\); accepted is \(B, T\)"):
        mel_spectrogram(torch.zeros(5), MelConfig())
    with pytest.raises(DataError, match="waveform is a list; accepted is a tensor"):
        mel_spectrogram([[0.0]], MelConfig())
    with pytest.raises(DataError, match="waveform is torch.int16; floating-point"):
        mel_spectrogram(torch.zeros(1, 5, dtype=torch.int16), MelConfig())
    for fields, sentence in (
        ({"high_hz": 12000.0}, "high_hz is 12000.0; accepted is at most half the rate, 11025 Hz"),
        ({"window": 2048}, "window is 2048; accepted is at most n_fft = 1024"),
        ({"hop": 0}, "hop is 0; accepted is an int from 1"),
        ({"mean": [1.0]}, "std is None; accepted is given with mean"),
        ({"mean": [1.0], "std": [1.0]}, "mean is .*; accepted is 80 numbers"),
        ({"mean": "abc", "std": [1.0]}, "mean is 'abc'; accepted is 80 numbers"),
        ({"low_hz": "a"}, "low_hz is 'a'; accepted is a number"),
        ({"floor": None}, "floor is None; accepted is a number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            MelConfig(**fields)


def test_no_waveforms_have_no_frames():
    config = MelConfig(8000, 64, 16, 64, 2, 0.0, 4000.0)
    assert mel_spectrogram(torch.zeros(0, 100), config).shape == (0, 2, config.frames(100))
