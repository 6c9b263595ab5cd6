from __future__ import annotations

import errno
import os
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from wavenet.audio import read_audio
from wavenet.classifier.data import AudioCache, default_cache_folder
from wavenet.classifier.data import cache as cache_module
from wavenet.errors import AudioError, DataError

RATE = 8000
WriteClip = Callable[..., Path]


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths decoded so far."""
    seen: list[Path] = []
    decode = cache_module.decode

    def counting(path: Path, rate: int, channel: int) -> np.ndarray:
        seen.append(path)
        return decode(path, rate, channel)

    monkeypatch.setattr(cache_module, "decode", counting)
    return seen


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def disk_only(folder: Path, rate: int = RATE) -> AudioCache:
    return AudioCache(folder, rate, memory_bytes=0)


def test_equals_reading(write_clip: WriteClip, tmp_path: Path) -> None:
    path = write_clip("a.wav", rate=44100)
    whole = read_audio(path, RATE)
    for cache in (AudioCache(tmp_path / "c", RATE), disk_only(tmp_path / "d")):
        for _ in range(3):
            assert torch.equal(cache.read(path), whole)
            assert np.array_equal(cache.open(str(path)), whole.numpy())


def test_memory_layer(write_clip: WriteClip, decodes: list[Path], tmp_path: Path) -> None:
    paths = [write_clip(f"{n}.wav", 0.1) for n in range(3)]
    cache = AudioCache(tmp_path / "c", RATE, memory_bytes=2 * 800 * 4)
    for _ in range(3):
        mapped = [isinstance(cache.open(path), np.memmap) for path in paths]
    assert mapped == [False, False, True]  # two fit, the third doesn't
    assert decodes == paths


def test_disk_layer_outlives_the_object(
    write_clip: WriteClip, decodes: list[Path], tmp_path: Path
) -> None:
    path = write_clip("a.wav")
    for _ in range(3):
        samples = disk_only(tmp_path / "c").open(path)
    assert decodes == [path]
    assert isinstance(samples, np.memmap)
    AudioCache(tmp_path / "c", RATE).open(path)
    assert decodes == [path]


def test_handed_out_samples_cannot_spoil_the_cache(write_clip: WriteClip, tmp_path: Path) -> None:
    path = write_clip("a.wav")
    cache = AudioCache(tmp_path / "c", RATE)
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            cache.open(path)[0] = 1
    cache.read(path).zero_()
    assert torch.equal(cache.read(path), read_audio(path, RATE))


def test_another_rate_or_file_is_another_entry(write_clip: WriteClip, tmp_path: Path) -> None:
    path = write_clip("a.wav", 0.1)
    assert disk_only(tmp_path / "c").open(path).size == 800
    assert disk_only(tmp_path / "c", 16000).open(path).size == 1600
    write_clip("a.wav", 0.2)
    assert disk_only(tmp_path / "c").open(path).size == 1600
    before = path.stat()
    write_clip("a.wav", 0.2, pitch=700.0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert torch.equal(disk_only(tmp_path / "c").read(path), read_audio(path, RATE))
    assert len(stored(tmp_path / "c")) == 4


def test_relative_and_absolute_paths_share_an_entry(
    write_clip: WriteClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip("a.wav")
    monkeypatch.chdir(tmp_path)
    disk_only(tmp_path / "c").open(path)
    disk_only(tmp_path / "c").open("a.wav")
    assert len(stored(tmp_path / "c")) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:60],
        lambda data: data[:128],
        lambda data: b"\0" * len(data),
        lambda data: data.replace(b"<f4", b"<i4"),
        lambda data: data.replace(b"<f4", b"|O "),
        lambda data: data.replace(b"(800,)", b"(0,)  "),
        lambda data: data.replace(b"(800,)", b"(-8,) "),
        lambda data: data.replace(b"(800,)", b"(8, 1)"),
        lambda data: data.replace(b"(800,)", b"(8**9)"),
        lambda data: data.replace(b"{'descr'", b"\xff\xfe\xfd{{{{{"),
    ],
)
def test_a_damaged_entry_is_decoded_anew(
    write_clip: WriteClip, decodes: list[Path], tmp_path: Path, damage: object
) -> None:
    path = write_clip("a.wav", 0.1)
    whole = disk_only(tmp_path / "c").read(path)
    [entry] = stored(tmp_path / "c")
    good = entry.read_bytes()
    bad = damage(good)  # type: ignore[operator]
    assert bad != good
    entry.write_bytes(bad)
    assert torch.equal(disk_only(tmp_path / "c").read(path), whole)
    assert entry.read_bytes() == good
    assert decodes == [path, path]


def test_an_unwritable_folder_gives_one_warning(write_clip: WriteClip, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    paths = [write_clip(f"{n}.wav") for n in range(3)]
    cache = disk_only(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match="can't be written .* going on without it") as caught:
        for path in paths:
            assert cache.read(path).numel()
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pickle.loads(pickle.dumps(cache)).read(paths[0]).numel()


def test_a_full_disk_leaves_nothing_half_written(
    write_clip: WriteClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_clip("good.wav")
    cache = disk_only(tmp_path / "c")
    cache.open(good)

    def full(file: object, *_: object, **__: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert cache.read(write_clip("a.wav")).numel()
    assert cache.read(good).numel()
    files = [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert files == stored(tmp_path / "c") and len(files) == 1


def test_errors_pass_through_and_are_not_kept(write_clip: WriteClip, tmp_path: Path) -> None:
    cache = AudioCache(tmp_path / "c", RATE)
    for _ in range(2):
        with pytest.raises(AudioError, match="no such file"):
            cache.open(tmp_path / "a.wav")
    write_clip("a.wav")
    assert cache.open(tmp_path / "a.wav").size == 800


def test_threads_share_one_cache(write_clip: WriteClip, tmp_path: Path) -> None:
    paths = [write_clip(f"{n}.wav", pitch=300.0 + n) for n in range(4)]
    cache = AudioCache(tmp_path / "c", RATE)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(cache.read, paths * 10))
    for path, result in zip(paths * 10, results, strict=True):
        assert torch.equal(result, read_audio(path, RATE))
    assert cache._memory_used == sum(samples.nbytes for samples in cache._memory.values())
    assert not list((tmp_path / "c").rglob("*.partial"))


def test_a_pickled_cache_leaves_its_memory_behind(write_clip: WriteClip, tmp_path: Path) -> None:
    path = write_clip("a.wav", 1.0)
    cache = AudioCache(tmp_path / "c", RATE)
    whole = cache.read(path)
    data = pickle.dumps(cache)
    assert len(data) < 2000
    assert torch.equal(pickle.loads(data).read(path), whole)


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WAVENET_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "wavenet"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_cache_folder() == tmp_path / "x" / "wavenet"
    monkeypatch.setenv("WAVENET_CACHE", str(tmp_path / "w"))
    assert default_cache_folder() == tmp_path / "w"
    assert AudioCache(None, RATE).folder == tmp_path / "w"


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample_rate is 0"):
        AudioCache(None, 0)
    with pytest.raises(DataError, match="memory_bytes is -1"):
        AudioCache(None, RATE, memory_bytes=-1)
