from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavenet.audio import read_audio
from wavenet.errors import AudioError, DataError

WriteClip = Callable[..., Path]


def test_same_rate_is_exact(tmp_path: Path) -> None:
    codes = np.array([0, 1, -1, 32767, -32768, 1234], dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", codes, 8000)
    x = read_audio(tmp_path / "a.wav", 8000)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.from_numpy(codes / np.float32(32768)))
    assert torch.equal(read_audio(str(tmp_path / "a.wav"), 8000), x)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.array([0.5, 0.25, -0.5]), np.array([-0.5, 0.75, -1.0])
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav", 8000).tolist() == [0.0, 0.5, -0.75]


@pytest.mark.parametrize("rate", [8000, 11025, 11111, 16000, 22050, 44100, 48000, 96000])
def test_resampling_keeps_the_tone(write_clip: WriteClip, rate: int) -> None:
    x = read_audio(write_clip("a.wav", 0.5, rate, pitch=1000.0), 16000).double()
    assert abs(len(x) - 8000) <= 1
    t = torch.arange(len(x)) / 16000
    middle = slice(1000, -1000)
    error = (x - 0.5 * torch.sin(2 * torch.pi * 1000 * t))[middle].abs().max()
    assert error < 1e-3


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "opus"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    if suffix == "mp3" and "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile has no MP3")
    path = tmp_path / f"a.{suffix}"
    t = np.arange(16000) / 16000
    kind = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * t), 16000, **kind)
    x = read_audio(path, 8000)
    assert abs(len(x) - 8000) < 1000  # lossy formats pad
    assert abs(float(x[2000:6000].square().mean().sqrt()) - 0.5 / 2**0.5) < 0.02


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_sample_formats(tmp_path: Path, subtype: str) -> None:
    x = np.linspace(-0.9, 0.9, 50)
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype=subtype)
    assert np.abs(read_audio(tmp_path / "a.wav", 8000).numpy() - x).max() < 0.03


def fails(path: Path, kind: str, message: str, rate: int = 8000) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(path, rate)
    assert caught.value.kind == kind
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    fails(tmp_path / "no.wav", "missing", "no such file")
    fails(tmp_path, "missing", "is a folder")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.raw", "a"])
def test_garbage(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"this is no audio at all, whatever its name says" * 20)
    fails(path, "unreadable", "can't be decoded as audio")


def test_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.touch()
    fails(path, "empty", "empty")


def test_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), 8000)
    fails(path, "empty", "holds no samples")


def test_less_than_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.ones(1), 96000)
    fails(path, "empty", "its 1 samples at 96000 Hz are less than one at 8000 Hz")


def test_header_without_data(tmp_path: Path, write_clip: WriteClip) -> None:
    path = write_clip("a.flac")
    path.write_bytes(path.read_bytes()[:20])
    fails(path, "unreadable", "can't be decoded")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.wav"
    x = np.zeros(100)
    x[50] = value
    soundfile.write(path, x, 8000, subtype="FLOAT")
    fails(path, "unreadable", "NaN or infinite")


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_a_damaged_rate_allocates_nothing(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(b"\0\1" * 100)
    fails(path, "unreadable", "its header says|can't be decoded")


def test_wrong_rate(tmp_path: Path, write_clip: WriteClip) -> None:
    with pytest.raises(DataError, match="sample_rate is 0"):
        read_audio(write_clip("a.wav"), 0)
