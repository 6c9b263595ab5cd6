"""Checkpoints: which are kept, disks that are full, Ctrl-C, folders of other versions."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from forked import start
from safetensors.torch import load_file
from small_runs import quiet, same, small_config

import wavenet.classifier.training.learner as learner
from wavenet import load_model
from wavenet.classifier.run_config import RunConfig, load_config
from wavenet.classifier.run_folder import checkpoints, rank_epochs
from wavenet.classifier.training import train
from wavenet.classifier.training.checkpoint import RunState
from wavenet.errors import CheckpointError, ConfigError, TrainingInterrupted


def _steps(run) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoints(run)]


@pytest.mark.slow
def test_the_newest_and_the_best_are_kept_and_each_is_a_model(recordings, tmp_path):
    config = small_config(
        recordings, tmp_path, "training.epochs=6", "training.keep_best=2", "training.patience=0"
    )
    train(config, tmp_path / "run", console=quiet())
    rows = json.loads((checkpoints(tmp_path / "run")[-1] / "progress.json").read_text())["history"]
    best = rank_epochs(rows)[:2]
    assert _steps(tmp_path / "run") == sorted({row["step"] for row in best} | {rows[-1]["step"]})
    first = best[0]["step"]
    kept = load_file(tmp_path / "run" / "checkpoints" / f"step-{first:08d}" / "model.safetensors")
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert all(kept[name].equal(saved[name]) for name in saved)
    load_model(checkpoints(tmp_path / "run")[-1])


def test_ranking_is_by_accuracy_then_loss_then_time():
    figures = [(0.5, 1.0), (0.7, 2.0), (0.7, 1.5), (0.7, 1.5)]
    rows = [
        {"epoch": i, "validation_accuracy": accuracy, "validation_loss": loss}
        for i, (accuracy, loss) in enumerate(figures, start=1)
    ]
    state = RunState(epoch=4, history=rows)
    assert [row["epoch"] for row in rank_epochs(rows)] == [3, 4, 2, 1]
    assert state.epochs_since_best == 1
    assert RunState().epochs_since_best == 0


def _train_until(step: int, config: RunConfig, run: Path, number: int = signal.SIGINT) -> None:
    """The signal comes to this process while that step is under way."""
    original = learner.Learner.step

    def stepping(self, parts, clips, now):
        if now == step:
            os.kill(os.getpid(), number)
        return original(self, parts, clips, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner.Learner, "step", stepping)
        with pytest.raises(TrainingInterrupted) as caught:
            train(config, run, console=quiet())
    assert caught.value.signal == number


@pytest.fixture(scope="module")
def config(recordings, tmp_path_factory):
    """Of 3 epochs, 9 steps."""
    return small_config(recordings, tmp_path_factory.mktemp("decoded"))


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The run that nothing stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(config, run, console=quiet())
    return run


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory):
    """A run that was stopped in its second epoch."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    _train_until(5, config, run)
    return run


@pytest.fixture
def interrupted(stopped, tmp_path):
    """A copy of it."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.mark.parametrize("step", [0, 2, 4])
def test_ctrl_c_saves_and_resumes_bit_for_bit(config, whole, tmp_path, step):
    """In the first step, at an epoch's end, and within an epoch."""
    _train_until(step, config, tmp_path / "run")
    assert _steps(tmp_path / "run")[-1] == step + 1
    train(config, tmp_path / "run", resume=True, console=quiet())
    assert same(whole, tmp_path / "run")


def test_signals_are_as_they_were(config, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    _train_until(0, config, tmp_path / "run", signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.slow
def test_ctrl_c_on_the_command_line_is_exit_code_130(recordings, tmp_path):
    endless = small_config(recordings, tmp_path, "training.epochs=10000")
    endless.save(tmp_path / "config.yaml")
    command = ("train", "--config", tmp_path / "config.yaml", "--out", tmp_path / "run")
    process = start(*command, output=tmp_path / "said.txt")
    while process.is_alive() and not (tmp_path / "run" / "metrics.csv").exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=60)
    assert process.exitcode == 130
    said = (tmp_path / "said.txt").read_text()
    assert "interrupted and saved; to go on: wavenet train --out" in said
    assert checkpoints(tmp_path / "run")


def _content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_leaves_the_last_checkpoint_whole(config, whole, interrupted):
    """A limit on the size of files, like a full disk, makes the system cut the writing short."""
    run = interrupted
    newest = checkpoints(run)[-1]
    before = _content(newest)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))  # less than the weights
    try:
        with pytest.raises(CheckpointError, match=rf"written to .*{newest.name}, is whole"):
            train(config, run, resume=True, console=quiet())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints(run)[-1] == newest and _content(newest) == before
    assert not (run / "checkpoints" / ".partial").exists()
    train(config, run, resume=True, console=quiet())
    assert same(whole, run)


@pytest.mark.parametrize("what", ["checkpoint's state", "model", "metrics"])
def test_no_space_left_is_said_wherever_it_happens(config, interrupted, monkeypatch, what):
    run = interrupted
    newest = checkpoints(run)[-1]

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    target = {
        "checkpoint's state": "wavenet.classifier.training.checkpoint.save_file",
        "model": "wavenet.classifier.training.checkpoint.write_model",
        "metrics": "wavenet.classifier.training.display.replace_file",
    }
    monkeypatch.setattr(target[what], full)
    with pytest.raises(CheckpointError, match=r"\(No space left on device\).*is whole.*--resume"):
        train(config, run, resume=True, console=quiet())
    assert checkpoints(run) == [newest]


def test_a_run_folder_that_is_read_only_is_named(config, interrupted, monkeypatch):
    run = interrupted

    def read_only(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # root may write anywhere
    monkeypatch.setattr("wavenet.locks.open", read_only, raising=False)
    with pytest.raises(ConfigError, match="run: can't be made a run folder: Permission denied"):
        train(config, run, resume=True, console=quiet())


@pytest.mark.parametrize(
    ("version", "sentence"),
    [(None, "format 1, written by an earlier"), (99, "format 99, written by a later version")],
)
def test_a_checkpoint_of_another_format_says_so(config, interrupted, version, sentence):
    run = interrupted
    path = checkpoints(run)[-1] / "progress.json"
    content = json.loads(path.read_text())
    content["format"] = version
    if version is None:
        del content["format"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"{sentence}.*wavenet train --from"):
        train(config, run, resume=True, console=quiet())


def test_a_configuration_without_the_newer_fields_resumes(interrupted):
    run = interrupted
    saved = yaml.safe_load((run / "train.yaml").read_text())
    for newer in ("ema_decay", "patience", "keep_best", "accumulation", "compile"):
        del saved["training"][newer]
    (run / "train.yaml").write_text(yaml.safe_dump(saved))
    assert train(load_config(run / "train.yaml"), run, resume=True, console=quiet()).epochs == 3


def test_a_checkpoint_of_another_network_is_refused(interrupted):
    run = interrupted
    saved = yaml.safe_load((run / "train.yaml").read_text())
    saved["model"]["skip_channels"] = 4
    (run / "train.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(CheckpointError, match="the checkpoint can't be resumed"):
        train(load_config(run / "train.yaml"), run, resume=True, console=quiet())


def test_what_belongs_to_the_machine_may_change_on_resuming(interrupted, recordings, tmp_path):
    run = interrupted
    more = ("training.accumulation=2", "training.keep_best=0", "training.checkpoint_steps=3")
    config = small_config(recordings, tmp_path, *more)
    train(config, run, resume=True, console=quiet())
    assert load_config(run / "train.yaml") == config
    assert len(checkpoints(run)) == 1
