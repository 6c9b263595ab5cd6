"""`wavenet check-data`: everything it finds, and its exit codes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavenet.classifier.data import Clip
from wavenet.classifier.data.dataset_audit import audit
from wavenet.errors import AudioError

RATE = 8000


def _tone(pitch: float, seconds: float = 0.1, gain: float = 0.5) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return gain * np.sin(2 * math.pi * pitch * t)


def _write(folder: Path, clips: dict[str, np.ndarray]) -> Path:
    """`clips` by "split/label/name.wav"."""
    for name, samples in clips.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, samples, RATE)
    return folder


@pytest.fixture
def sound(tmp_path):
    """A data set that nothing is wrong with: three splits, two classes."""
    pitches = iter(range(200, 3000, 37))
    return _write(
        tmp_path / "[set]",
        {
            f"{split}/{label}/{i}.wav": _tone(next(pitches))
            for split, count in (("train", 6), ("validation", 2), ("test", 3))
            for label in ("a", "b")
            for i in range(count)
        },
    )


@pytest.fixture
def check(wavenet, tmp_path):
    """The command on a folder -> exit code, output, JSON."""

    def run(folder, *options):
        out = tmp_path / "found.json"
        sizes = ("--set", "model.sample_rate=8000", "--set", "model.stacks=1")
        sizes += ("--set", "model.layers_per_stack=3", "--set", f"data.cache={tmp_path / 'cache'}")
        done = wavenet("check-data", "--data", folder, *sizes, "--out", out, *options)
        assert done.code != 2, done.err
        return done.code, done.out, json.loads(out.read_text())

    return run


def test_sound_data(check, sound):
    code, printed, content = check(sound, "--strict")
    assert code == 0, printed
    assert content["counts"] == {label: {"train": 6, "validation": 2, "test": 3} for label in "ab"}
    assert content["rates"] == {"8000": 22} and content["channels"] == {"1": 22}
    assert content["seconds"]["train"]["median"] == pytest.approx(0.1)
    assert content["findings"] == [] and content["serious"] == 0
    assert "0 serious finding(s), 0 other(s), 0 note(s)" in printed


def _silent(folder):
    soundfile.write(folder / "train/a/silent.wav", np.zeros(800), RATE)


def _unreadable(folder):
    (folder / "test/a/broken.wav").write_bytes(b"RIFF")


def _leak(folder):
    samples, _ = soundfile.read(folder / "train/a/0.wav", dtype="int16")
    soundfile.write(folder / "test/a/other_name.flac", samples, RATE)


def _contradiction(folder):
    (folder / "train/b/copy.wav").write_bytes((folder / "train/a/0.wav").read_bytes())


def _copy(folder):
    (folder / "train/a/copy.wav").write_bytes((folder / "train/a/0.wav").read_bytes())


def _clipped(folder):
    soundfile.write(folder / "train/a/loud.wav", _tone(150, gain=1.5).clip(-1, 1), RATE)


def _rates(folder):
    soundfile.write(folder / "train/a/slow.wav", _tone(700), 11025)


def _absent(folder):
    for path in (folder / "test/b").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "serious", "kind", "sentence"),
    [
        (_silent, True, "silent", "silent.wav: is silent"),
        (_unreadable, True, "unreadable", "broken.wav: can't be decoded"),
        (_leak, True, "duplicates across splits", "the same audio is in two splits, once"),
        (_contradiction, True, "contradictory labels", "copy.wav (b)"),
        (_copy, False, "duplicates", "the same audio is in a split twice"),
        (_clipped, False, "clipping", "3 or more samples in a row"),
        (_rates, False, "rates", "22 at 8000 Hz, 1 at 11025 Hz"),
        (_absent, False, "absent classes", "test has no clip of b"),
    ],
)
def test_what_is_wrong_is_found(check, sound, spoil, serious, kind, sentence):
    spoil(sound)
    code, printed, content = check(sound)
    assert code == int(serious)
    (finding,) = [found for found in content["findings"] if found["kind"] == kind]
    assert finding["serious"] == serious and sentence in finding["message"]
    assert sentence in printed.replace("\n", "")
    assert f"{'serious' if serious else 'note' if finding['note'] else 'finding'}: " in printed
    assert check(sound, "--strict")[0] == int(not finding["note"])


def test_notes_fail_no_strict_run(check, sound):
    """What training makes of the data as they are is no fault of theirs."""
    _rates(sound)
    field = ("--set", "model.layers_per_stack=10")  # of which every clip is shorter
    code, printed, content = check(sound, "--strict", *field)
    assert code == 0 and "0 serious finding(s), 0 other(s), 2 note(s)" in printed
    assert [found["note"] for found in content["findings"]] == [True, True]
    _copy(sound)
    code, printed, _ = check(sound, "--strict", *field)
    assert code == 1 and "0 serious finding(s), 1 other(s), 2 note(s)" in printed


def test_many_copies_are_counted(tmp_path):
    folder = _write(tmp_path, {f"{i}.wav": _tone(300) for i in range(12)})
    clips = [Clip(folder / f"{i}.wav", "a") for i in range(12)]
    found = audit({"train": clips[:6], "test": clips[6:]}).findings
    assert [f.kind for f in found] == ["duplicates across splits"]
    pairs = [Clip(folder / f"{i}.wav", "a") for i in range(10)]
    for i, clip in enumerate(pairs):
        soundfile.write(clip.path, _tone(300 + 50 * (i // 2)), RATE)
    (finding,) = audit({"train": pairs}).findings
    assert "5 times" in finding.message and "and 2 more" in finding.message
    assert len(finding.items) == 5 and all(" and " in item for item in finding.items)


def test_a_file_that_vanished_is_named(tmp_path):
    with pytest.raises(AudioError, match="gone.wav: no such file"):
        audit({"train": [Clip(tmp_path / "gone.wav", "a")]})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "there is no data to check; give --data, a folder"),
        (("--data", "nowhere"), "nowhere: no such file or folder"),
        (("--data", ".", "--out", "no/a.json"), "--out is no/a.json, but there is no folder no"),
        (("--data", ".", "--out", "."), "--out is ., a folder; accepted is a file"),
    ],
)
def test_what_can_not_be_checked(wavenet, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    done = wavenet("check-data", *arguments)
    assert done.code == 2 and sentence in done.err


def _manifest(folder: Path, rows: list[str]) -> Path:
    path = folder / "manifest.csv"
    path.write_text("path,label,split,group\n" + "\n".join(rows) + "\n")
    return path


def test_groups_on_both_sides_are_serious(sound, check):
    rows = [
        f"{split}/{label}/{i}.wav,{label},{split},{'anna' if i == 0 else f'{split}{i}'}"
        for split, count in (("train", 6), ("validation", 2), ("test", 3))
        for label in ("a", "b")
        for i in range(count)
    ]
    code, out, found = check(_manifest(sound, rows))
    assert code == 1
    (finding,) = (f for f in found["findings"] if f["kind"] == "groups across splits")
    assert finding["serious"] and finding["items"] == ["anna"]
    assert "1 of 9 groups are in several splits" in finding["message"]


def test_the_validation_part_is_of_whole_groups(sound, check):
    rows = [f"train/{label}/{i}.wav,{label},,s{i // 2}" for label in ("a", "b") for i in range(6)]
    code, _, found = check(_manifest(sound, rows))
    assert code == 0
    assert found["counts"] == {label: {"train": 4, "validation": 2, "test": 0} for label in "ab"}


def test_channels_scale_and_spelling(sound, check):
    tone = _tone(440.0)
    nearly = np.stack([tone, -0.98 * tone], 1)
    soundfile.write(sound / "train/a/cancels.wav", nearly, RATE)
    soundfile.write(sound / "train/a/unscaled.wav", 32767 * tone, RATE, subtype="FLOAT")
    _write(sound, {f"{split}/A/x.wav": _tone(p) for split, p in (("train", 71), ("test", 83))})
    _write(sound, {"train/A/y.wav": _tone(97)})
    code, _, found = check(sound)
    kinds = {f["kind"]: f for f in found["findings"]}
    assert code == 1
    assert kinds["cancelling channels"]["items"] == [str(sound / "train/a/cancels.wav")]
    assert kinds["unscaled"]["items"] == [str(sound / "train/a/unscaled.wav")]
    assert kinds["labels alike"]["items"] == ["A and a"] and not kinds["labels alike"]["serious"]


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32"])
def test_formats_that_can_not_be_wound_back(sound, check, subtype):
    soundfile.write(sound / "train/a/x.wav", _tone(333.0), RATE, subtype=subtype)
    code, _, found = check(sound)
    assert (code, found["counts"]["a"]["train"]) == (0, 7)


def test_parts_of_a_recording(sound, check):
    for label, pitch in (("a", 300), ("b", 700)):
        soundfile.write(sound / f"{label}.wav", _tone(pitch, 1.0) * np.linspace(0.1, 1, RATE), RATE)
    rows = [
        f"{label}.wav,{label},{split},{start},{start + 0.25}"
        for label in ("a", "b")
        for start, split in ((0, "train"), (0.25, "train"), (0.5, "validation"), (0.75, "test"))
    ]
    path = sound / "parts.csv"
    path.write_text("path,label,split,start,end\n" + "\n".join(rows) + "\n")
    code, out, found = check(path)
    assert code == 0, out
    assert found["seconds"]["train"] == {
        "shortest": 0.25,
        "median": 0.25,
        "longest": 0.25,
        "sum": 1.0,
    }
