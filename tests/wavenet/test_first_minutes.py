"""What somebody meets first: the greeting, names of configurations, choices made for them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from rich.console import Console
from small_runs import RATE, small_config

import wavenet.progress
from wavenet import configs
from wavenet.classifier import training
from wavenet.classifier.choosing import Chosen, beside, choose_settings
from wavenet.classifier.data import DataConfig, find_clips, split_clips
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import display, train
from wavenet.errors import ConfigError
from wavenet.progress import Pace, duration, progress


def test_alone_it_greets_and_names_five_commands(wavenet):
    done = wavenet()
    assert done.code == 0 and not done.err
    named = re.findall(r"^  wavenet ([a-z-]+) ", done.out, re.M)
    assert named == ["synth", "train", "evaluate", "predict", "info"]


def test_nobody_has_to_read_the_greeting_to_its_end():
    read, write = os.pipe()
    os.close(read)
    alone = [sys.executable, "-m", "wavenet"]
    done = subprocess.run(alone, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 0 and not done.stderr


def test_configurations_have_names():
    assert {"demo", "fsdd", "fsdd-robust"} <= set(configs.names())
    assert load_config(Path("fsdd")) == load_config(configs.FOLDER / "fsdd.yaml")
    with pytest.raises(ConfigError, match=r"^fsd: there is no such .*; by name there are asc, "):
        load_config(Path("fsd"))


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fsdd").write_text("training: {epochs: 7}")
    assert load_config(Path("fsdd")).training.epochs == 7


def test_what_is_picked_for_a_folder(recordings):
    chosen = {one.field: one.value for one in choose_settings(DataConfig(source=str(recordings)))}
    assert chosen["model.sample_rate"] == RATE  # below all usual ones: their own
    assert chosen["model.filters"] == 64 and chosen["model.stem_stride"] == RATE // 100
    assert chosen["data.test_fraction"] == 0.1 and chosen["training.epochs"] == 100
    of_splits = choose_settings(DataConfig(source=str(recordings / "all.csv")))
    assert "data.test_fraction" not in [one.field for one in of_splits]


@pytest.mark.parametrize(("groups", "fraction"), [(1, 0.1), (2, 0.0), (9, 0.0), (10, 0.1)])
def test_no_test_part_is_picked_of_few_groups(recordings, tmp_path, groups, fraction):
    """Whole groups are tested on: of two it would be half the data."""
    rows = [
        f"{recordings}/{name}/{i}.wav,{name},person{i % groups}"
        for name in ("low", "high")
        for i in range(12)
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *rows]))
    data = DataConfig(source=str(tmp_path / "list.csv"))
    chosen = {one.field: one for one in choose_settings(data)}
    assert chosen["data.test_fraction"].value == fraction
    assert fraction or f"there are {groups}: cross-v" in chosen["data.test_fraction"].reason
    clip_by_clip = choose_settings(replace(data, validation_by_group=False))
    assert {one.field: one.value for one in clip_by_clip}["data.test_fraction"] == 0.1


def test_of_many_short_clips_the_recipe_is_that_of_words(recordings, tmp_path):
    rows = [
        f"{recordings}/{name}/{i % 12}.wav,{name},{i / 1e4}"
        for name in ("low", "high")
        for i in range(600)
    ]
    (tmp_path / "many.csv").write_text("\n".join(["path,label,start", *rows]))
    clips = find_clips(tmp_path / "many.csv")
    assert len(clips) == 1200
    chosen = choose_settings(DataConfig(source=str(tmp_path / "many.csv")))
    fields = {one.field: one.value for one in chosen}
    recipe = load_config(Path("asc"))
    assert fields["model.stem_stride"] == recipe.model.stem_stride * RATE // 16000
    assert fields["training.epochs"] == recipe.training.epochs
    settings = [f"{one.field}={json.dumps(one.value)}" for one in chosen]
    assert load_config(None, [*settings, f"data.source={tmp_path}"]).model.filters == 64


def test_of_few_clips_of_some_seconds_the_recipe_is_that_of_environmental_sounds(tmp_path):
    for name in ("rain", "saw"):
        (tmp_path / name).mkdir()
        for i in range(12):
            noise = np.random.default_rng(i).uniform(-0.1, 0.1, 3 * RATE)
            soundfile.write(tmp_path / name / f"{i}.wav", noise, RATE)
    chosen = choose_settings(DataConfig(source=str(tmp_path)))
    fields = {one.field: one.value for one in chosen}
    recipe = load_config(Path("esc10"))
    assert fields["model.filter_layers"] == recipe.model.filter_layers
    assert fields["model.stem_stride"] == recipe.model.stem_stride * RATE // 16000
    assert fields["training.epochs"] == recipe.training.epochs
    assert fields["data.test_fraction"] == 0.1
    settings = [f"{one.field}={json.dumps(one.value)}" for one in chosen]
    assert load_config(None, [*settings, f"data.source={tmp_path}"]).model.frame_ms == 160


def test_sizes_are_for_the_rate_that_is_given(recordings, monkeypatch, wavenet):
    picked = {one.field: one.value for one in choose_settings(DataConfig(str(recordings)), 8000)}
    assert picked["model.sample_rate"] == 8000 and picked["model.stem_stride"] == 80

    def stop(config, *_, **__):
        raise ConfigError(f"{config.model.sample_rate} {config.model.stem_stride}")

    monkeypatch.setattr(training, "train", stop)
    done = wavenet("train", "--data", recordings, "--set", "model.sample_rate=8000")
    assert done.err.endswith(" 8000 80") and "model.stem_stride=80\n" in done.out


def test_what_is_given_is_not_picked():
    chosen = [Chosen(name, 0, "") for name in ("model.sample_rate", "model.filters", "data.a")]
    assert [one.field for one in beside(chosen, {"data.a"})] == [
        "model.sample_rate",
        "model.filters",
    ]
    assert [one.field for one in beside(chosen, {"model.stacks"})] == [
        "model.sample_rate",
        "data.a",
    ]


def test_data_is_all_that_training_needs(recordings, tmp_path, monkeypatch, wavenet):
    monkeypatch.chdir(tmp_path)
    settings = (f"data.cache={tmp_path / 'cache'}", "training.epochs=1", "training.device=cpu")
    done = wavenet("train", "--data", recordings, *(p for s in settings for p in ("--set", s)))
    assert done.code == 0, done.err
    run = Path("runs") / recordings.name
    assert (run / "model.safetensors").exists()
    used = yaml.safe_load((run / "train.yaml").read_text())
    assert used["model"]["sample_rate"] == RATE and used["training"]["epochs"] == 1
    assert "model.sample_rate=4000" in done.out and "training.epochs" not in done.out
    with open(run / "clips.csv", newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    assert splits.count("test") == 3  # a tenth of each class
    assert f"next: wavenet evaluate {run} " in done.out
    again = wavenet("train", "--data", recordings)
    assert again.code == 2 and "holds a run already" in again.err
    nothing = wavenet("train")
    assert nothing.code == 2 and "--data is missing: a folder with a sub-folder" in nothing.err
    nothing = wavenet("train", "--config", "demo")
    assert nothing.code == 2 and "--out is missing; accepted without it is --data" in nothing.err
    checked = wavenet("check-data", "--data", recordings)  # as that training would see them
    assert "model.sample_rate=4000" in checked.out and "the model hears 4000 Hz" in checked.out


def test_what_is_wrong_with_a_command_is_said_before_torch_is_loaded():
    code = (
        "import sys; from wavenet.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    for arguments in (["--version"], ["train"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True
        )
        assert "AssertionError" not in done.stderr, done.stderr


@pytest.mark.parametrize("by_group", [False, True])
def test_the_test_part_is_the_same_for_every_seed(recordings, by_group):
    clips = [replace(clip, split=None) for clip in find_clips(recordings / "all.csv")]
    config = DataConfig(source="x", test_fraction=0.25, validation_by_group=by_group)
    parts = [split_clips(clips, config, seed) for seed in range(6)]
    assert len({tuple(part.test) for part in parts}) == 1
    assert len({tuple(part.validation) for part in parts}) > 1
    for part in parts:
        assert len(part.test) == (12 if by_group else 9)  # a whole person
        assert len(part.test) + len(part.train) + len(part.validation) == 36
        assert not {*part.test} & {*part.train, *part.validation}


def test_a_checkout_of_spoken_digits_gets_a_manifest(tmp_path, capsys):
    (tmp_path / "recordings").mkdir()
    for name in ("7_theo_4", "7_theo_5", "0_jackson_49"):
        (tmp_path / "recordings" / f"{name}.wav").touch()
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "fsdd_manifest.py"))[
        "write_manifest"
    ](tmp_path)
    clips = {clip.path.stem: clip for clip in find_clips(tmp_path)}
    assert [(c.label, c.split, c.group) for c in clips.values()] == [
        ("0", "train", "jackson"),
        ("7", "test", "theo"),
        ("7", "train", "theo"),
    ]
    assert "3 clips" in capsys.readouterr().out


def test_evaluation_says_when_clips_chose_the_epoch(tones, tmp_path, wavenet):
    done = wavenet("evaluate", tones.run, "--split", "validation", "--out", tmp_path / "out")
    said = " ".join(done.out.split())
    count = re.search(r"(\d+) of (\d+) clips are ones that the best epoch of this run", said)
    assert count and count[1] == count[2] and "data.test_fraction" in said
    done = wavenet("evaluate", tones.run, "--split", "test", "--out", tmp_path / "out")
    assert "best epoch of this run" not in " ".join(done.out.split())


def test_prediction_says_why_a_recording_is_unknown(tones, tmp_path, wavenet):
    config = json.loads((tones.run / "config.json").read_text())
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tones.run / name).read_bytes())
    config["thresholds"] = [1.0] * len(config["labels"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    soundfile.write(tmp_path / "hiss.wav", np.random.default_rng(0).uniform(-0.1, 0.1, RATE), RATE)
    done = wavenet("predict", tmp_path, tmp_path / "hiss.wav")
    assert "unknown are 1 of 1" in done.out and "less likely than 100.0%" in done.out
    assert "unknown are" not in wavenet("predict", tones.run, tmp_path / "hiss.wav").out


def test_doctor_says_what_is_here(wavenet):
    done = wavenet("doctor")
    assert done.code == 0, done.err
    for name in ("CPU kernels", "threads", "load", "GPU", "formats", "disk"):
        assert name in done.out


def test_a_line_is_due_soon_and_then_seldom():
    now = [0.0]
    pace = Pace(done=10, clock=lambda: now[0])
    due = []
    for now[0] in (1.0, 9.9, 10.0, 20.0, 39.9, 40.0, 100.0, 101.0):
        due.append(pace.due())
    assert due == [False, False, True, False, False, True, True, False]
    now[0] = 60.0
    assert pace.left(10, 100) == "" and pace.left(100, 100) == ""
    assert pace.left(40, 100) == "about 2 min left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59, "59 s"), (89, "1 min"), (11100, "3 h 5 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_where_there_is_no_terminal_lines_say_how_far_it_is(monkeypatch):
    monkeypatch.setattr(wavenet.progress, "SECONDS_TO_FIRST", 0.0)
    printed = io.StringIO()
    with progress(Console(file=printed, width=200), "reading clips") as report:
        report(1, 4)
        report(2, 4)
    assert re.fullmatch(r"reading clips: 1 of 4, about \d+ s left\n", printed.getvalue())


def test_so_do_lines_within_an_epoch(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(wavenet.progress, "SECONDS_TO_FIRST", 0.0)
    monkeypatch.setattr(wavenet.progress, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(display, "SECONDS_BETWEEN_UPDATES", 0.0)
    printed = io.StringIO()
    config = small_config(recordings, tmp_path, "training.epochs=2")
    train(config, tmp_path / "run", console=Console(file=printed, width=200))
    lines = printed.getvalue().splitlines()
    within = [line for line in lines if re.match(r"epoch 1/2  step \d+ of \d+  loss ", line)]
    assert within and all(line.endswith(" left") for line in within)
    (first,) = (line for line in lines if line.startswith("epoch   1/2"))
    assert re.search(r"clips/s  best  about \d+ s left$", first)
