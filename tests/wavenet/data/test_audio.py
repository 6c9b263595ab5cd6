from __future__ import annotations

import os
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavenet.audio import audio_blocks, read_audio
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


def _lie(path: Path, samples: int) -> Path:
    """Make a FLAC's header say how many samples it holds (36 bits)."""
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | samples >> 32
    content[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("seconds", [0.1, 140.0])  # of one block, of several
def test_a_flac_that_does_not_say_its_length(write_clip: WriteClip, seconds: float) -> None:
    path = write_clip("a.flac", seconds)
    expected = read_audio(path, 8000)
    assert torch.equal(read_audio(_lie(path, 0), 8000), expected)
    blocks = list(audio_blocks(path, 8000, 0.07))
    assert torch.equal(torch.cat(blocks), expected)


def test_a_header_that_claims_far_too_much(write_clip: WriteClip) -> None:
    path = _lie(write_clip("a.flac"), 2**36 - 1)
    fails(path, "unreadable", "its header claims 68719476735 samples, more than there are")


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "GSM610"), ("WAV", "G721_32")])
def test_formats_that_can_not_be_wound_back(tmp_path: Path, kind: str, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(np.arange(8000)), 8000, format=kind, subtype=subtype)
    assert len(read_audio(path, 8000)) == sum(map(len, audio_blocks(path, 8000, 0.1))) >= 8000


needs_mp3 = pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="needs MP3")


@needs_mp3
@pytest.mark.parametrize("rate", [44100, 22050, 11025])
@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\1\0" + b"\0" * 128])
def test_an_mp3_of_varying_rate_without_its_header(tmp_path: Path, rate: int, tag: bytes) -> None:
    path = tmp_path / "a.mp3"
    noise = 0.3 * np.random.default_rng(0).standard_normal(4 * rate)
    samples = np.concatenate([noise, np.zeros(8 * rate)])
    soundfile.write(path, samples, rate, bitrate_mode="VARIABLE", compression_level=0.3)
    content = path.read_bytes()
    assert b"Xing" in content[:200]
    second = content.index(content[:2], 4)  # where the next frame starts
    path.write_bytes(tag + content[second:])
    assert soundfile.info(path).duration < 11
    assert abs(len(read_audio(path, rate)) / rate - 12) < 0.2


@needs_mp3
def test_a_damaged_mp3_is_named_once(tmp_path: Path, capfd) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, 0.5 * np.sin(np.arange(40000) / 3), 16000)
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start : start + 300] = bytes(range(256)) + bytes(44)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"a\.mp3: is damaged in places") as caught:
        read_audio(path, 16000)
    assert len(caught) == 1
    assert capfd.readouterr().err == ""


def test_a_channel(tmp_path: Path) -> None:
    both = np.stack([[0.5, 0.25], [-0.25, 0.125]], 1)
    soundfile.write(tmp_path / "a.wav", both, 8000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav", 8000, channel=1).tolist() == [0.5, 0.25]
    assert read_audio(tmp_path / "a.wav", 8000, channel=2).tolist() == [-0.25, 0.125]
    (block,) = audio_blocks(tmp_path / "a.wav", 8000, channel=2)
    assert block.tolist() == [-0.25, 0.125]
    with pytest.raises(AudioError, match=r"has 2 channel\(s\); channel 3 is asked for"):
        read_audio(tmp_path / "a.wav", 8000, channel=3)
    with pytest.raises(DataError, match="channel is -1"):
        read_audio(tmp_path / "a.wav", 8000, channel=-1)


def test_channels_that_cancel(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    tone = 0.5 * np.sin(np.arange(800))
    soundfile.write(path, np.stack([tone, -tone], 1), 8000)
    fails(path, "silent", "its 2 channels cancel each other")
    assert read_audio(path, 8000, channel=1).abs().max() > 0.4


@pytest.mark.parametrize("name", ["a\0b.wav", "a" * 300 + ".wav"])
def test_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match="is no path of a file") as caught:
        read_audio(tmp_path / name, 8000)
    assert caught.value.kind == "missing"


@pytest.fixture
def m4a(tmp_path: Path) -> Path:
    path = tmp_path / "a song.m4a"
    path.write_bytes(b"\0\0\0 ftypM4A " + bytes(100))
    return path


def test_what_needs_ffmpeg(m4a: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    fails(m4a, "unreadable", "convert it: ffmpeg -i a song.m4a a song.wav")


def test_ffmpeg_is_used(m4a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, numpy, soundfile\n"
        f"assert 'file:{m4a}' in sys.argv, sys.argv\n"
        "soundfile.write(sys.argv[-1], numpy.full((100, 2), 0.25), 8000, subtype='FLOAT')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert read_audio(m4a, 8000).tolist() == [0.25] * 100
    program.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    fails(m4a, "unreadable", r"\(ffmpeg: no such codec\)")


@pytest.mark.parametrize("said", [0, 36])
@pytest.mark.parametrize("before", [b"", b"LIST\5\0\0\0abcde\0"])
def test_a_wav_whose_writer_did_not_come_to_its_length(
    tmp_path: Path, before: bytes, said: int
) -> None:
    """It was killed, or wrote into a pipe: the header has 0 bytes of samples."""
    codes = np.array([0, 1, -1, 32767, -32768, 1234], dtype=np.int16)
    path = tmp_path / "a.wav"
    soundfile.write(path, codes, 8000)
    whole = bytearray(path.read_bytes())
    data = whole.index(b"data")
    whole[4:8] = said.to_bytes(4, "little")
    whole[data + 4 : data + 8] = bytes(4)
    path.write_bytes(whole[:data] + before + whole[data:])
    expected = torch.from_numpy(codes / np.float32(32768))
    assert torch.equal(read_audio(path, 8000), expected)
    assert torch.equal(torch.cat(list(audio_blocks(path, 8000, 2 / 8000))), expected)


@pytest.mark.parametrize("after", [b"", b"LIST\4\0\0\0INFO"])
def test_a_wav_without_samples_is_empty(tmp_path: Path, after: bytes) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 8000)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes() + after)
    fails(tmp_path / "a.wav", "empty", "holds no samples")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    fails(tmp_path / "pipe.wav", "unreadable", "is a pipe or a device; an audio file is expected")


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.flac"])
def test_another_format_by_a_name_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    path = tmp_path / name
    path.write_bytes(b"\0\0\0\x18ftypM4A " + bytes(1000))
    fails(
        path, "unreadable", "recognised; it holds MP4.; an ffmpeg that is installed would be used"
    )
    path.write_bytes(b"<!DOCTYPE html>" * 50)  # what a server said instead
    fails(path, "unreadable", r"can't be decoded as audio \(Format not recognised\)$")
