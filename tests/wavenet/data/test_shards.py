"""Data in tar files: read in any order, made by `wavenet prepare`, interrupted and resumed."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavenet.audio import read_audio
from wavenet.audio.shards import Member, members, read_member
from wavenet.classifier.data import (
    AudioCache,
    Clip,
    ClipDataset,
    DataConfig,
    check_clips,
    find_clips,
    prepare_data,
)
from wavenet.classifier.data import prepare_shards as prepare_shards_
from wavenet.classifier.data.prepare_shards import Preparation, prepare_shards
from wavenet.classifier.inference.known_clips import known_splits
from wavenet.errors import AudioError, DataError

RATE = 8000


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _wav(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV", subtype="PCM_16")
    return content.getvalue()


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Two tar files as others write them: labels in JSON, .cls or .txt; a picture in between."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        with tarfile.open(tmp_path / f"{split}-0000.tar", "w") as tar:
            for number in range(6):
                label = "ab"[number % 2]
                if split == "train":
                    _add(tar, f"in/{number}.json", json.dumps({"label": label}).encode())
                else:
                    _add(tar, f"{number}.{'cls' if number < 3 else 'txt'}", f"{label}\n".encode())
                _add(tar, f"{number}.png" if number else "in/0.png", b"no sound")
                folder = "in/" if split == "train" else ""
                _add(tar, f"{folder}{number}.wav", _wav(random.uniform(-0.5, 0.5, 800 + number)))
    return tmp_path


def test_tar_files_of_others(foreign, cache):
    clips = find_clips(foreign)
    assert [clip.label for clip in clips] == ["a", "b"] * 6
    assert [clip.split for clip in clips] == ["test"] * 6 + ["train"] * 6
    assert check_clips(clips, cache).samples == [800, 801, 802, 803, 804, 805] * 2
    upper = foreign / "upper"
    upper.mkdir()
    shutil.copy(foreign / "train-0000.tar", upper / "TRAIN-0000.TAR")
    assert check_clips(find_clips(upper), cache).samples == [800, 801, 802, 803, 804, 805]
    assert read_audio(clips[1].path, RATE).shape == (801,)
    assert not list(cache.folder.rglob("*.npy")) and not cache._memory
    with pytest.raises(AudioError, match="test-0000.tar: holds no file 'none.wav'"):
        cache.open(foreign / "test-0000.tar" / "none.wav")
    with pytest.raises(AudioError, match="can't be decoded"):
        cache.open(foreign / "test-0000.tar" / "1.png")


def test_recordings_of_a_run_are_known_in_other_tar_files(foreign, tmp_path):
    """By their content where the run's own are still there, by names and labels where not."""
    clips = find_clips(foreign)
    other = tmp_path / "other"
    other.mkdir()
    for tar in foreign.glob("*.tar"):
        shutil.copy(tar, other)
    with tarfile.open(other / "test-0000.tar", "w") as tar:
        for number in range(6):
            _add(tar, f"{number}.cls", b"a")
            _add(tar, f"{number}.wav", _wav(np.full(50, 0.1)))
    found = find_clips(other)
    known, moved = known_splits(found, other, clips, foreign)
    assert not moved and set(known.values()) == {"train"} and len(known) == 6
    for tar in foreign.glob("*.tar"):
        tar.rename(tmp_path / "other" / f"moved-{tar.name}")
    # The numbers of others are the same, their labels are not.
    assert known_splits(found, other, clips, foreign) == ({}, False)
    for tar in foreign.glob("other/moved-*.tar"):
        tar.rename(other / tar.name.removeprefix("moved-"))
    found = find_clips(other)
    known, moved = known_splits(found, other, clips, foreign)
    assert moved and len(known) == 12
    known, moved = known_splits(found, other, clips[:-1], foreign)
    assert not moved and not known


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, kind):
    """However they are found: long names and other headers take the slow way."""
    names = ["a.wav", "in/b.wav", "./c.wav", f"{'d' * 90}/{'e' * 60}.wav", "\u00e9.wav"]
    with tarfile.open(tmp_path / "x.tar", "w", format=kind) as tar:
        tar.add(tmp_path, "in", recursive=False)
        for number, name in enumerate(names):
            _add(tar, name, b"x" * 511 * number)
    found = members(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        expected = {
            info.name.removeprefix("./"): Member(info.offset_data, info.size)
            for info in tar
            if info.isreg()
        }
    assert found == expected and len(found) == 5


def test_what_tar_files_of_others_say_of_splits_and_folds(tmp_path):
    """In their words; a number 0 is a name."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, split in enumerate(("Test", "dev", "", None)):
            known = {"label": number, "split": split, "fold": number, "group": 0}
            _add(tar, f"{number}.json", json.dumps(known).encode())
            _add(tar, f"{number}.wav", _wav(np.ones(8)))
    clips = find_clips(tmp_path)
    assert [clip.split for clip in clips] == ["test", "validation", None, None]
    assert [clip.fold for clip in clips] == ["0", "1", "2", "3"] and clips[0].group == "0"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("0.json", b"{}", "0.json holds no label"),
        ("1.cls", b"x", "0.wav has no label beside it"),
        ("0.json", b'{"label": 1, "split": "x"}', "the split in 0.json is 'x'; accepted are train"),
    ],
)
def test_recordings_without_a_label(tmp_path, name, content, sentence):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        _add(tar, "0.wav", _wav(np.ones(8)))
        _add(tar, name, content)
    with pytest.raises(DataError, match=sentence):
        find_clips(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"no tar file, whatever its name says" * 30)
    with pytest.raises(AudioError, match="can't be read as a tar file"):
        find_clips(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> list[Clip]:
    """A long recording, two with the same samples, one that is silent, one with quiet ends."""
    random = np.random.default_rng(1)
    sound = random.uniform(-0.5, 0.5, 5 * RATE)
    made = {
        "long": sound,
        "one": sound[:4000],
        "copy": sound[:4000],
        "silent": np.zeros(4000),
        "quiet": np.concatenate([np.zeros(1000), sound[7000:9000], 1e-4 * sound[:1000]]),
    }
    clips = []
    for number, (name, samples) in enumerate(made.items()):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        split = "test" if name == "quiet" else "train"
        clips.append(Clip(tmp_path / f"{name}.wav", "ab"[number % 2], split, group=name))
    return clips


SETTINGS = Preparation(rate=RATE, trim_db=40, cut_seconds=1.5, shard_mb=0.04)


def test_recordings_are_trimmed_cut_and_deduplicated(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    done = prepare_shards(source, out, SETTINGS)
    assert (done.recordings, done.clips, done.duplicates, done.skipped) == (5, 5, 1, 1)
    assert done.shards > 1 and "silent.wav: is silent" in done.reasons[0]
    clips = find_clips(out)
    assert [clip.group for clip in clips] == ["long"] * 3 + ["one", "quiet"]
    assert [clip.prepared.samples for clip in clips] == [12000, 12000, 12000, 4000, 2000]
    cache = AudioCache(tmp_path / "cache", RATE)
    heard = np.concatenate([cache.open_clip(clip) for clip in clips[:3]])
    written, _ = soundfile.read(source[0].path, dtype="float32")
    assert np.abs(heard - written[:36000]).max() <= 2**-16
    assert json.loads(read_member(clips[4].path.parent, "000000004.json"))["label"] == "a"


def test_pieces_of_a_recording_are_a_group(source, tmp_path):
    """So none is validated on while another is learned; a group that is known stays."""
    clips = [dataclasses.replace(clip, group=None) for clip in source]
    out = tmp_path / "out"
    out.mkdir()
    prepare_shards(clips, out, SETTINGS)
    found = find_clips(out)
    assert [clip.group for clip in found] == ["long.wav"] * 3 + ["one.wav", "quiet.wav"]


def test_a_recording_of_many_rows_is_decoded_once(source, tmp_path, monkeypatch):
    decoded = []
    decode = prepare_shards_.decode
    monkeypatch.setattr(
        prepare_shards_,
        "decode",
        lambda path, *more: (decoded.append(path), decode(path, *more))[1],
    )
    long, one = source[0].path, source[1].path
    clips = [Clip(long, "a", start=i / 4, end=(i + 1) / 4) for i in range(8)] + [Clip(one, "b")]
    out = tmp_path / "out"
    out.mkdir()
    assert prepare_shards(clips, out, Preparation(rate=RATE, deduplicate=False)).clips == 9
    assert sorted(decoded) == [long, one]
    cache = AudioCache(tmp_path / "cache", RATE)
    heard = np.concatenate([cache.open_clip(clip) for clip in find_clips(out)[:8]])
    written, _ = soundfile.read(long, dtype="float32")
    assert np.abs(heard - written[: 2 * RATE]).max() <= 2**-16


class Killed(Exception):
    """What interrupts."""


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_an_interrupted_preparation_goes_on(source, tmp_path, after):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    prepare_shards(source, whole, SETTINGS)

    def kill(state) -> None:
        if state.recordings > after:
            raise Killed

    with pytest.raises(Killed):
        prepare_shards(source, broken, SETTINGS, kill)
    for _ in range(2):  # going on with what is done changes nothing
        prepare_shards(source, broken, SETTINGS)
        names = sorted(path.name for path in whole.iterdir())
        assert names == sorted(p.name for p in broken.iterdir() if not p.name.startswith("."))
        for name in names:
            assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    with pytest.raises(DataError, match="holds what other recordings or settings made"):
        prepare_shards(source[1:], broken, SETTINGS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DataError, match="holds other files; accepted is a new folder"):
        prepare_shards(source, tmp_path / "full", SETTINGS)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("manifest.csv", Path.unlink, "where manifest.csv was written and is missing"),
        ("shard-000000.tar", Path.unlink, "where shard-000000.tar was written and is missing"),
        ("manifest.csv", _cut, "manifest.csv is shorter than what was written there"),
        ("prepare.json", _cut, "prepare.json is not what was written there"),
        (
            "prepare.json",
            lambda path: path.write_text("[]"),
            "prepare.json is not what was written there",
        ),
        (
            "manifest.csv",
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            "manifest.csv is not what was written there",
        ),
    ],
)
def test_what_is_gone_or_changed_gets_a_sentence(source, tmp_path, name, change, said):
    out = tmp_path / "out"
    out.mkdir()
    prepare_shards(source, out, SETTINGS)
    change(out / name)
    with pytest.raises(DataError, match=f"{said}; accepted is a new folder"):
        prepare_shards(source, out, SETTINGS)


def test_prepared_clips_are_not_looked_at_before_training(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    prepare_shards(source, out, SETTINGS)
    opened = []
    open_clip = AudioCache.open_clip
    monkeypatch.setattr(
        AudioCache, "open_clip", lambda self, clip: (opened.append(clip), open_clip(self, clip))[1]
    )
    config = DataConfig(source=str(out), validation_by_group=False, cache=str(tmp_path / "cache"))
    data = prepare_data(config, RATE, 10, 0)
    dataset = ClipDataset(data.splits.train, data.labels, data.cache)
    assert sum(dataset.lengths()) > 0 and not opened
    assert len(dataset[0][0]) == dataset.lengths()[0] and len(opened) == 1
    # At another rate they are.
    assert prepare_data(config, RATE // 2, 10, 0).report.samples[0] == 6000 and len(opened) > 1


def test_the_command(source, tmp_path, wavenet):
    rows = [(clip.path, clip.label) for clip in source]
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    done = wavenet(
        "prepare", "--data", tmp_path / "list.csv", "--out", tmp_path / "new", "--rate", RATE
    )
    assert done.code == 0, done.err
    assert "left out: " in done.out and "3 clips of 5 recordings in 1 tar file(s)" in done.out
    assert len(find_clips(tmp_path / "new")) == 3
    assert "label_separator" not in done.out
    done = wavenet("prepare", "--data", tmp_path / "list.csv", "--out", tmp_path / "tags",
                   "--rate", RATE, "--label-separator", ";")  # fmt: skip
    assert done.code == 0 and "--set 'data.label_separator=;'" in done.out, done.err
