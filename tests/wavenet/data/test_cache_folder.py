"""The folder of decoded clips has a limit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavenet.classifier.data import AudioCache
from wavenet.classifier.data.cache_folder import cached_files, limit_bytes, prune, size_of
from wavenet.errors import DataError

RATE = 8000
SIZE = 4 * RATE + 128  # of a stored clip of a second


@pytest.fixture
def clips(tmp_path):
    """Six recordings of a second."""
    (tmp_path / "clips").mkdir()
    paths = [tmp_path / "clips" / f"{i}.wav" for i in range(6)]
    for i, path in enumerate(paths):
        soundfile.write(path, np.full(RATE, 0.1 * (i + 1)), RATE, subtype="FLOAT")
    return paths


def _cache(tmp_path: Path) -> AudioCache:
    return AudioCache(tmp_path / "cache", RATE, memory_bytes=0)


def _age(tmp_path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for file in cached_files(tmp_path / "cache"):
        os.utime(file.path, (then, then))


def test_long_unused_clips_go_where_others_need_their_place(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("WAVENET_CACHE_GB", str(4.5 * SIZE / 1e9))
    for path in clips[:4]:
        _cache(tmp_path).open(path)
    _age(tmp_path, 100)
    later = _cache(tmp_path)
    later.open(clips[0])  # used again: it stays
    later.open(clips[4])
    assert size_of(tmp_path / "cache") <= 4.5 * SIZE
    monkeypatch.setattr("wavenet.classifier.data.cache.decode", lambda *_: pytest.fail("decoded"))
    for path in (clips[0], clips[4]):
        _cache(tmp_path).open(path)


def test_the_clips_of_one_run_do_not_push_each_other_out(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("WAVENET_CACHE_GB", str(2.5 * SIZE / 1e9))
    cache = _cache(tmp_path)
    for _ in range(2):
        for i, path in enumerate(clips):
            assert cache.open(path)[0] == pytest.approx(0.1 * (i + 1))
    assert size_of(tmp_path / "cache") == 2 * SIZE


def test_pruning_leaves_what_is_no_clip_and_takes_what_was_left_behind(clips, tmp_path):
    cache = _cache(tmp_path)
    for path in clips:
        cache.open(path)
    folder = next(cached_files(tmp_path / "cache")).path.parent
    (folder / ".half.partial").write_bytes(bytes(100))
    (tmp_path / "cache" / "mine.npy").write_bytes(bytes(100))
    assert prune(tmp_path / "cache", 0) == 0
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["mine.npy"]
    assert prune(tmp_path / "nowhere", 0) == 0


def test_the_command_says_and_makes_room(clips, tmp_path, wavenet):
    cache = _cache(tmp_path)
    for path in clips:
        cache.open(path)
    command = ("cache", "--folder", tmp_path / "cache")
    assert "cache: 6 clips, 0.00 GB of 50 (WAVENET_CACHE_GB says how much)" in wavenet(*command).out
    assert "6 clips" in wavenet(*command, "--keep-gb", 1).out
    assert "3 clips" in wavenet(*command, "--keep-gb", 3.5 * SIZE / 1e9).out
    assert "0 clips" in wavenet(*command, "--clear").out


@pytest.mark.parametrize("wrong", ["much", "-1", "nan"])
def test_a_limit_that_is_no_number(wrong, monkeypatch):
    monkeypatch.setenv("WAVENET_CACHE_GB", wrong)
    with pytest.raises(DataError, match=f"WAVENET_CACHE_GB is '{wrong}'; accepted is a number"):
        limit_bytes()
