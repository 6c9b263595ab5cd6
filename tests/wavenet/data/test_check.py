from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavenet.classifier.data import AudioCache, CheckReport, Clip, check_clips, find_clips
from wavenet.errors import DataError

RATE = 8000
WriteClip = Callable[..., Path]


@pytest.fixture
def bad_clips(tmp_path: Path, write_clip: WriteClip) -> dict[str, Clip]:
    """One clip for each reason to skip it."""
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "broken.wav").write_bytes(b"RIFF and then nothing of the kind")
    soundfile.write(folder / "empty.wav", np.zeros(0), RATE)
    (folder / "no_bytes.flac").touch()
    soundfile.write(folder / "silent.wav", np.zeros(500), RATE)
    soundfile.write(folder / "constant.wav", np.full(500, 0.5), RATE)
    soundfile.write(folder / "hush.wav", np.tile([2e-5, -2e-5], 250), RATE, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(500, np.nan), RATE, subtype="FLOAT")
    names = ["broken.wav", "empty.wav", "no_bytes.flac", "silent.wav", "constant.wav", "hush.wav"]
    clips = {name: Clip(folder / name, "low") for name in [*names, "nan.wav", "missing.wav"]}
    return {**clips, "strange": Clip(write_clip("bad/strange.wav"), "strange")}


def test_good_clips(class_folder: Path, cache: AudioCache) -> None:
    clips = find_clips(class_folder)
    calls: list[tuple[int, int, bool]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total, threading.current_thread() is threading.main_thread()))

    report = check_clips(clips, cache, progress=progress)
    assert report.kept == clips
    assert report.samples == [400, 800, 1200] * 2
    assert report.counts == {"high": 3, "low": 3}
    assert report.total_seconds == pytest.approx(0.6)
    assert report.skipped == [] and report.notes == []
    assert report.summary() == "6 clips of 2 classes, 0.6 s at 8000 Hz\n3 clips in each class"
    assert calls == [(done, 6, True) for done in range(1, 7)]


def test_the_cache_is_full_afterwards(class_folder: Path, cache: AudioCache) -> None:
    clips = find_clips(class_folder)
    check_clips(clips, cache)
    before = [cache.open(clip.path).copy() for clip in clips]
    for clip in clips:
        clip.path.unlink()
    for clip, samples in zip(clips, before, strict=True):
        assert np.array_equal(cache.open(clip.path), samples)


@pytest.mark.parametrize("threads", [None, 1, 5])
def test_every_reason_to_skip(
    class_folder: Path, cache: AudioCache, bad_clips: dict[str, Clip], threads: int | None
) -> None:
    good = find_clips(class_folder)
    mixed = [*good[:3], *bad_clips.values(), *good[3:]]
    report = check_clips(mixed, cache, labels=["low", "high"], threads=threads)
    assert report.kept == good
    assert [(skipped.clip.path.name, skipped.kind) for skipped in report.skipped] == [
        ("broken.wav", "unreadable"),
        ("empty.wav", "empty"),
        ("no_bytes.flac", "empty"),
        ("silent.wav", "silent"),
        ("constant.wav", "silent"),
        ("hush.wav", "silent"),
        ("nan.wav", "unreadable"),
        ("missing.wav", "missing"),
        ("strange.wav", "unknown label"),
    ]
    for skipped in report.skipped:
        assert str(skipped.clip.path) in skipped.reason
    reasons = {skipped.clip.path.name: skipped.reason for skipped in report.skipped}
    assert reasons["hush.wav"].endswith("is silent (peak -94 dBFS)")
    assert reasons["silent.wav"].endswith("is silent (peak zero)")
    assert reasons["strange.wav"].endswith("'strange' is not one of the model's 2 labels")

    lines = report.summary(max_skipped=2).splitlines()
    assert lines[0] == "6 clips of 2 classes, 0.6 s at 8000 Hz"
    assert lines[2] == (
        "skipped 9 clips: 3 silent, 2 unreadable, 2 empty, 1 missing, 1 unknown label"
    )
    assert "broken.wav: can't be decoded" in lines[3]
    assert lines[5:] == ["  and 7 more"]


def test_a_quiet_clip_is_kept(write_clip: WriteClip, cache: AudioCache) -> None:
    path = write_clip("a.wav")
    soundfile.write(path, np.tile([2e-4, -2e-4], 250), RATE, subtype="FLOAT")
    clips = [Clip(path, "a"), Clip(write_clip("b.wav"), "b")]
    assert len(check_clips(clips, cache).kept) == 2
    with pytest.raises(DataError, match="silent"):
        check_clips(clips, cache, silence_dbfs=-60.0)


def test_short_clips_are_kept_and_counted(class_folder: Path, cache: AudioCache) -> None:
    report = check_clips(find_clips(class_folder), cache, min_samples=900)
    assert len(report.kept) == 6
    assert report.shorter_than_receptive_field == 4
    assert report.notes == [
        "4 of 6 clips are shorter than the receptive field of 900 samples (112 ms): they are used, "
        "and what the model sees beyond their start is zeros"
    ]
    assert "note: 4 of 6 clips" in report.summary()
    assert check_clips(find_clips(class_folder), cache, min_samples=400).notes == []


def test_a_label_without_clips_is_a_note(class_folder: Path, cache: AudioCache) -> None:
    labels = ["high", "low", *(f"x{number}" for number in range(7))]
    report = check_clips(find_clips(class_folder), cache, labels=labels)
    assert report.notes == [
        "no clip of 7 labels the model knows: x0, x1, x2, x3, x4 and 2 more",
    ]


def test_imbalance_is_a_note(write_clip: WriteClip, cache: AudioCache) -> None:
    clips = [Clip(write_clip(f"{n}.wav", 0.01), "often" if n else "rare") for n in range(11)]
    report = check_clips(clips, cache)
    assert report.notes == [
        "often has 10 clips and rare only 1: class-balanced sampling may help",
    ]
    assert "from 1 (rare) to 10 (often) clips a class" in report.summary()


def test_nothing_left(cache: AudioCache, bad_clips: dict[str, Clip]) -> None:
    with pytest.raises(DataError, match=r"none of the 9 clips can be used, first: .*broken\.wav"):
        check_clips(list(bad_clips.values()), cache, labels=["low"])
    with pytest.raises(DataError, match="clips is empty"):
        check_clips([], cache)


def test_one_class_left(class_folder: Path, cache: AudioCache) -> None:
    clips = find_clips(class_folder)
    for clip in clips[:3]:
        clip.path.write_bytes(b"broken")
    message = r"only 1 class \(low\) is left .* at least 2 are needed; 3 clips can't be used, first"
    with pytest.raises(DataError, match=message):
        check_clips(clips, cache)
    assert check_clips(clips, cache, min_classes=1).counts == {"low": 3}


def test_an_interrupt_does_not_wait_for_all_files(class_folder: Path, cache: AudioCache) -> None:
    opened: list[int] = []
    cache_open = cache.open
    cache.open = lambda path: opened.append(1) or cache_open(path)  # type: ignore

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_clips(find_clips(class_folder) * 500, cache, progress=interrupt, threads=1)
    assert len(opened) < 3000


def test_durations_read_well() -> None:
    def first_line(samples: int) -> str:
        clip = Clip(Path("a"), "a")
        return CheckReport([clip], [samples], [], sample_rate=100).summary().splitlines()[0]

    assert first_line(150) == "1 clip of 1 class, 1.5 s at 100 Hz"
    assert first_line(100 * 600) == "1 clip of 1 class, 10.0 min at 100 Hz"
    assert first_line(100 * 9000) == "1 clip of 1 class, 2.5 h at 100 Hz"
