from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavenet.classifier.data import find_clips
from wavenet.classifier.data.synth import SOUNDS, synthesise, write_data_set
from wavenet.errors import DataError

SMALL = {"clips_per_class": 3, "sample_rate": 8000, "seconds": 0.5}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_ten_sounds() -> None:
    assert set(SOUNDS) == {
        *("siren", "bird_song", "engine", "rain", "wind"),
        *("footsteps", "bell", "alarm", "helicopter", "thunder"),
    }


@pytest.mark.parametrize("label", sorted(SOUNDS))
@pytest.mark.parametrize(("rate", "seconds"), [(8000, 0.5), (16000, 1.0), (44100, 1.3)])
def test_a_clip(label: str, rate: int, seconds: float) -> None:
    clips = [synthesise(label, seed, sample_rate=rate, seconds=seconds) for seed in range(12)]
    for clip in clips:
        assert clip.shape == (round(seconds * rate),) and clip.dtype == np.float32
        assert 10 ** (-14.1 / 20) < np.abs(clip).max() < 10 ** (-0.9 / 20)
        assert np.abs(clip).mean() > 1e-3
    assert len({clip.tobytes() for clip in clips}) == 12
    again = synthesise(label, np.random.default_rng(3), sample_rate=rate, seconds=seconds)
    assert np.array_equal(again, clips[3])


def test_long_clips_are_filled_to_the_end() -> None:
    for label in SOUNDS:
        if label == "thunder":  # one clap may be over sooner
            continue
        clip = synthesise(label, 0, sample_rate=8000, seconds=8)
        assert clip[-8000:].std() > 0.1 * clip.std()


def test_data_set(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    manifest = write_data_set(
        tmp_path / "deep" / "set",
        clips_per_class=10,
        validation=0.2,
        test=0.3,
        sample_rate=8000,
        seconds=0.5,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert manifest == tmp_path / "deep" / "set" / "manifest.csv"
    assert calls == [(done, 100) for done in range(1, 101)]
    clips = find_clips(manifest)
    assert clips == find_clips(manifest.parent)
    shares = Counter((clip.label, clip.split) for clip in clips)
    for label in SOUNDS:
        assert [shares[label, split] for split in ("train", "validation", "test")] == [5, 2, 3]
    info = soundfile.info(clips[0].path)
    assert (info.samplerate, info.frames, info.channels, info.subtype) == (8000, 4000, 1, "PCM_16")
    assert sorted(path.name for path in manifest.parent.parent.iterdir()) == ["set"]
    made_with = json.loads((manifest.parent / "synth.json").read_text())
    assert made_with["clips_per_class"] == 10 and made_with["seed"] == 0


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_data_set(tmp_path / name, seed=5, **SMALL)
    write_data_set(tmp_path / "c", seed=6, **SMALL)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    other = contents(tmp_path / "c")
    assert not {first[name] for name in first if name.endswith(".wav")} & set(other.values())


def test_more_clips_change_none(tmp_path: Path) -> None:
    shares = {"validation": 0.2, "test": 0.2, "sample_rate": 8000, "seconds": 0.5}
    few = find_clips(write_data_set(tmp_path / "few", clips_per_class=4, **shares))
    more = find_clips(write_data_set(tmp_path / "more", clips_per_class=6, **shares))
    found = {(clip.path.name, clip.label, clip.split): clip.path.read_bytes() for clip in more}
    for clip in few:
        assert found[clip.path.name, clip.label, clip.split] == clip.path.read_bytes()


def test_its_own_data_set_is_replaced(tmp_path: Path) -> None:
    write_data_set(tmp_path / "a", **{**SMALL, "clips_per_class": 5})
    write_data_set(tmp_path / "a", **SMALL)
    (tmp_path / "empty").mkdir()
    write_data_set(tmp_path / "empty", **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "bell/mine.wav", "bell/bell_take2.wav", "dog/1.wav", ".git/config"]
)
def test_foreign_files_are_safe(tmp_path: Path, foreign: str) -> None:
    write_data_set(tmp_path / "a", **SMALL)
    (tmp_path / "a" / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / "a" / foreign).write_text("precious")
    before = contents(tmp_path / "a")
    name = foreign if foreign.startswith("bell") else foreign.split("/")[0]
    with pytest.raises(DataError, match=f"holds {name}, which is not of a synthesised data set"):
        write_data_set(tmp_path / "a", **SMALL)
    assert contents(tmp_path / "a") == before


def test_a_data_set_of_somebody_else_is_safe(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"holds manifest\.csv, which is not"):
        write_data_set(tmp_path, **SMALL)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file; a folder to write"):
        write_data_set(tmp_path / "file", **SMALL)
    with pytest.raises(DataError, match="can't be written"):
        write_data_set(tmp_path / "file" / "inside", **SMALL)


def test_an_interrupted_run_leaves_what_was_there(tmp_path: Path) -> None:
    write_data_set(tmp_path / "a", **SMALL)
    before = contents(tmp_path)

    def interrupt(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    for name in ("a", "new"):
        with pytest.raises(KeyboardInterrupt):
            write_data_set(tmp_path / name, seed=1, progress=interrupt, **SMALL)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_exchange_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data_set(tmp_path / "a", **SMALL)
    before = contents(tmp_path)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DataError, match="can't be written"):
        write_data_set(tmp_path / "a", seed=1, **SMALL)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips_per_class": 0}, "clips_per_class is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"validation": 0.5, "test": 0.5}, "validation is 0.5 and test 0.5"),
        ({"sample_rate": 4000}, "sample_rate is 4000"),
        ({"seconds": 0.1}, "seconds is 0.1"),
        ({"seconds": float("nan")}, "seconds is nan"),
    ],
)
def test_wrong_arguments(tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_data_set(tmp_path / "a", **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())


def test_an_unknown_sound() -> None:
    with pytest.raises(DataError, match="label is 'cow'; accepted are alarm, bell"):
        synthesise("cow", 0)
