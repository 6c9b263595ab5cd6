"""Pipes, terminals, folders and users that aren't what one would wish for: a sentence each."""

from __future__ import annotations

import io
import json
import os
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_runs import MODEL

from wavenet import WaveNetClassifier, WaveNetConfig
from wavenet.audio.containers import open_raw
from wavenet.classifier.data import default_cache_folder
from wavenet.errors import DataError
from wavenet_kernels.calibration import store

RATE = 8000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model whose labels few terminals of old can show."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    labels = ("Vögel", "雨", "\N{DOG FACE}")
    WaveNetClassifier(WaveNetConfig(**{**MODEL, "labels": labels})).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tone():
    return (0.3 * np.sin(np.arange(2 * RATE) * 0.3)).astype(np.float32)


def _piped(monkeypatch, content: bytes | None) -> None:
    stdin = None if content is None else io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdin", stdin)


def _wav(samples, subtype="PCM_16", form="WAV", rate=RATE) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=form, subtype=subtype)
    return content.getvalue()


@pytest.mark.parametrize(("subtype", "form"), [
    ("PCM_16", "WAV"), ("PCM_32", "WAV"), ("FLOAT", "WAV"), ("FLOAT", "WAVEX"), ("PCM_16", "RF64"),
])  # fmt: skip
def test_a_wav_in_a_pipe_is_heard_as_the_file(
    run, tone, tmp_path, wavenet, monkeypatch, subtype, form
):
    """In stereo and at another rate than the model's, which the header says."""
    content = _wav(np.stack([tone, tone], 1), subtype, form, rate=2 * RATE)
    (tmp_path / "tone.wav").write_bytes(content)
    expected = wavenet("stream", run, tmp_path / "tone.wav")
    _piped(monkeypatch, content)
    heard = wavenet("stream", run)
    assert heard.code == 0 and len(heard.out.splitlines()) == len(expected.out.splitlines()) == 10
    for line, truth in zip(heard.out.splitlines(), expected.out.splitlines(), strict=True):
        line, truth = json.loads(line), json.loads(truth)
        assert line["label"] == truth["label"]
        assert line["probability"] == pytest.approx(truth["probability"], abs=1e-3)


def test_what_lies_between_header_and_samples_is_passed_over(tone):
    whole = _wav(tone)
    data = whole.index(b"data")
    chunk = b"LIST" + struct.pack("<I", 5) + b"abcde\0"
    file, told = open_raw(io.BytesIO(whole[:data] + chunk + whole[data:]), "the pipe")
    assert told == {"pcm_format": "s16", "rate": RATE, "channels": 1}
    assert file.read(10**6) == whole[data + 8 :]


@pytest.mark.parametrize("suffix", ["", "x.raw"])
@pytest.mark.parametrize(("form", "subtype", "named"), [
    ("FLAC", "PCM_16", "brings FLAC, not raw PCM; give the recording as a file, or decode it"),
    ("OGG", "VORBIS", "brings Ogg"), ("AIFF", "PCM_16", "brings AIFF"), ("CAF", "PCM_16", "CAF"),
    ("AU", "PCM_16", "brings AU"), ("WAV", "PCM_24", "brings WAV of 24 bits (format 1); accepted"),
])  # fmt: skip
def test_other_containers_are_named(
    run, tone, tmp_path, wavenet, monkeypatch, form, subtype, named, suffix
):
    content = _wav(tone, subtype, form)
    if suffix:
        (tmp_path / suffix).write_bytes(content)
        done = wavenet("stream", run, tmp_path / suffix)
    else:
        _piped(monkeypatch, content)
        done = wavenet("stream", run)
    assert done.code == 2 and named in done.err and done.out == ""


def _aac_frame(size: int) -> bytes:
    head = (0xFF, 0xF1, 0x50, 0x80 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC)
    return bytes(head) + bytes(size - len(head))


def test_frames_without_a_container_are_known_by_two_of_them(tone):
    mp3 = _wav(tone, "MPEG_LAYER_III", "MP3")
    mp3 = mp3[mp3.index(b"\xff\xe3") if mp3[:3] == b"ID3" else 0 :]
    for content, name in ((mp3, "MP3"), (_aac_frame(400) * 3, "AAC")):
        with pytest.raises(DataError, match=f"brings {name}, not raw PCM"):
            open_raw(io.BytesIO(content), "the pipe")
        # Two samples may be as its first bytes are.
        file, told = open_raw(io.BytesIO(content[:100] + bytes(9000)), "the pipe")
        assert told == {} and file.read(10**5) == content[:100] + bytes(9000)


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypM4A ", b"\x1aE\xdf\xa3" + b"\0" * 8, b"ID3\4" + b"\0" * 8]
)
def test_containers_that_nobody_here_writes_are_named_too(head):
    with pytest.raises(DataError, match="not raw PCM"):
        open_raw(io.BytesIO(head + b"\0" * 100), "the pipe")


def test_a_wav_without_samples_and_options_beside_a_header(run, tone, wavenet, monkeypatch):
    _piped(monkeypatch, _wav(tone)[:30])
    done = wavenet("stream", run)
    assert done.code == 2 and "brings WAV without samples" in done.err
    _piped(monkeypatch, _wav(tone))
    done = wavenet("stream", run, "--rate", 8000)
    assert done.code == 2 and "brings WAV, which says itself what is in it" in done.err


def test_a_pipe_that_is_empty_short_or_closed(run, wavenet, monkeypatch):
    for content in (b"", b"\0"):
        _piped(monkeypatch, content)
        done = wavenet("stream", run)
        assert done.code == 0 and "no audio came" in done.err and done.out == ""
    _piped(monkeypatch, None)
    done = wavenet("stream", run)
    assert done.code == 2 and "the standard input is closed; pipe raw PCM" in done.err


def test_a_timeline_of_raw_pcm_is_no_traceback(run, tmp_path, wavenet):
    for name in ("x.raw", "x.pcm", "x.dat"):
        (tmp_path / name).write_bytes(bytes(4000))
        done = wavenet("timeline", run, tmp_path / name)
        assert done.code == 2 and "Traceback" not in done.err
        if name != "x.dat":
            assert "raw PCM does not say its rate; `wavenet stream` hears it" in done.err


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_terminal_that_lacks_characters(run, tone, tmp_path, wavenet, monkeypatch, encoding):
    """Tables are escaped; JSON stays JSON."""
    soundfile.write(tmp_path / "tone.wav", tone, RATE)
    for options in (("--json",), ()):
        bytes_ = io.BytesIO()
        out = io.TextIOWrapper(bytes_, encoding=encoding)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            assert wavenet("predict", run, tmp_path / "tone.wav", *options).code == 0
            assert wavenet("info", run).code == 0
            out.flush()
        text = bytes_.getvalue().decode(encoding)
        if options:
            top = json.loads(text.splitlines()[0])["top"]
            assert {one["label"] for one in top} == {"Vögel", "雨", "\N{DOG FACE}"}
        assert ("雨" in text) == (encoding == "utf-8")


def test_outputs_that_are_closed(run, tone, tmp_path):
    """As a job's often are: what is asked for is done all the same."""
    soundfile.write(tmp_path / "tone.wav", tone, RATE)
    words = [sys.executable, "-m", "wavenet", "timeline", run, tmp_path / "tone.wav"]
    line = shlex.join([*map(str, words), "--out", str(tmp_path / "found.csv")])
    done = subprocess.run(["sh", "-c", f"{line} <&- >&- 2>&-"], timeout=300)
    assert done.returncode == 0 and (tmp_path / "found.csv").read_text()


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_what_a_folder_holds_beside_recordings_is_said(
    run, tone, tmp_path, wavenet, monkeypatch, command
):
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    soundfile.write(sounds / "a.wav", tone, RATE)
    (sounds / "b.m4a").write_bytes(b"\0\0\0\x18ftypM4A ")
    (sounds / "c.wav").symlink_to("nowhere.wav")
    with pytest.warns(UserWarning) as caught:
        out = ("--out", tmp_path / "v.npz") if command == "embed" else ()
        assert wavenet(command, run, sounds, *out).code == 0
    said = "\n".join(str(warning.message) for warning in caught)
    assert "1 .m4a passed over; they need ffmpeg" in said and "1 links that lead nowhere" in said


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_a_file_that_may_not_be_read_does_not_stop_the_rest(
    run, tone, tmp_path, wavenet, monkeypatch, command
):
    for name in ("a.wav", "closed.wav"):
        soundfile.write(tmp_path / name, tone, RATE)
    access = os.access

    def denied(path, mode, **options):  # root may read everything
        return Path(path).name != "closed.wav" and access(path, mode, **options)

    monkeypatch.setattr(os, "access", denied)
    out = ("--out", tmp_path / "v.npz") if command == "embed" else ("--json",)
    done = wavenet(command, run, tmp_path / "closed.wav", tmp_path / "a.wav", *out)
    assert done.code == 1 and "closed.wav: can't be read (Permission denied)" in done.out + done.err
    assert "1 of 2 recordings could not be read" in done.err
    done = wavenet("timeline", run, tmp_path / "closed.wav")
    assert done.code == 2 and "closed.wav: can't be read (Permission denied)" in done.err


@pytest.mark.parametrize(
    ("command", "name"),
    [("timeline", "x.csv"), ("embed", "x.npz"), ("report", "x.html"), ("check-data", "x.json")],
)
def test_a_file_that_can_not_be_written_is_said_before_the_work(
    run, tmp_path, wavenet, monkeypatch, command, name
):
    """The recordings aren't even looked for."""
    access = os.access

    def denied(path, mode, **options):  # root may write everywhere
        return Path(path) != tmp_path and access(path, mode, **options)

    monkeypatch.setattr(os, "access", denied)
    of_run = () if command == "check-data" else (run,)
    recordings = {"report": (), "check-data": ("--data", "none")}.get(command, (tmp_path,))
    done = wavenet(command, *of_run, *recordings, "--out", tmp_path / name)
    assert done.code == 2
    assert f"{tmp_path} can't be written to; accepted is an --out that can" in done.err


def test_a_user_without_a_home_has_caches_all_the_same(monkeypatch):
    for name in ("HOME", "WAVENET_CACHE", "XDG_CACHE_HOME", "WAVENET_KERNELS_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def unknown(*_):
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert default_cache_folder().name == f"wavenet-{os.getuid()}"
    assert store.folder().name == f"wavenet_kernels-{os.getuid()}"


def test_a_folder_that_can_not_be_listed_does_not_stop_the_rest(
    run, tone, tmp_path, wavenet, monkeypatch
):
    for name in ("a", "closed", "z"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "tone.wav", tone, RATE)
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "closed":  # root may list everything
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    done = wavenet("predict", run, tmp_path, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    (failed,) = [line for line in lines if "error" in line]
    assert done.code == 1 and len(lines) == 3
    assert failed["error"].endswith("closed: the folder can't be listed")


def test_a_channel_is_heard_by_every_command(run, tone, tmp_path, wavenet, monkeypatch):
    """Of two that cancel each other, as of the recording that is that channel alone."""
    soundfile.write(tmp_path / "both.wav", np.stack([tone, -tone], 1), RATE)
    soundfile.write(tmp_path / "one.wav", -tone, RATE)
    both, one, second = tmp_path / "both.wav", tmp_path / "one.wav", ("--channel", 2)
    streamed = wavenet("stream", run, one).out
    assert wavenet("stream", run, both, *second).out == streamed
    _piped(monkeypatch, both.read_bytes())
    assert wavenet("stream", run, *second).out == streamed
    _piped(monkeypatch, both.read_bytes())
    done = wavenet("stream", run, "--channel", 3)
    assert done.code == 2 and "channel is 3; accepted is up to 2, its channels" in done.err
    found = {}
    for path, options in ((one, ()), (both, second)):
        assert wavenet("timeline", run, path, *options, "--out", tmp_path / "a.csv").code == 0
        assert wavenet("embed", run, path, *options, "--out", tmp_path / "a.npz").code == 0
        embeddings = np.load(tmp_path / "a.npz")["embeddings"]
        found[path] = (tmp_path / "a.csv").read_text(), embeddings.tolist()
    assert found[one] == found[both]
