"""A run folder has one training at a time; a start that failed leaves it free."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest
from forked import start
from small_runs import quiet, small_config

from wavenet.classifier.cross_validation import cross_validate
from wavenet.classifier.run_folder import holds_run
from wavenet.classifier.training import train
from wavenet.classifier.training.learner import Learner
from wavenet.errors import ConfigError, DataError
from wavenet.locks import FolderLock, writable_folder


def _hold(folder, taken, let_go):
    lock = FolderLock(folder)
    lock.take()
    if os.fork() == 0:  # a worker that outlives it
        time.sleep(2)
        os._exit(0)
    taken.set()
    let_go.wait()
    lock.release()
    os._exit(0)


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds a folder until it is killed or told to let go."""
    context = multiprocessing.get_context("fork")
    started = []

    def hold(folder):
        folder.mkdir(exist_ok=True)
        taken, let_go = context.Event(), context.Event()
        process = context.Process(target=_hold, args=(folder, taken, let_go), daemon=True)
        process.start()
        started.append(process)
        assert taken.wait(20)
        return process, let_go

    yield hold
    for process in started:
        process.kill()


def test_a_second_training_is_refused_before_it_reads_anything(recordings, tmp_path, holder):
    process, let_go = holder(tmp_path / "run")
    config = small_config(recordings, tmp_path, "training.epochs=1", "data.source=nowhere")
    said = rf"run: process {process.pid} on .* is writing to it; wait for it or stop it, or give"
    with pytest.raises(ConfigError, match=said):
        train(config, tmp_path / "run", console=quiet())
    with pytest.raises(ConfigError, match=said):
        train(config, tmp_path / "run", resume=True, console=quiet())
    let_go.set()
    process.join(20)
    with pytest.raises(DataError, match="no such file or folder"):
        train(config, tmp_path / "run", console=quiet())


def test_a_second_cross_validation_is_refused(recordings, tmp_path, holder):
    holder(tmp_path / "runs")
    with pytest.raises(ConfigError, match="runs: process .* is writing to it"):
        cross_validate(
            small_config(recordings, tmp_path), tmp_path / "runs", by="fold", console=quiet()
        )
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {".lock"}


def test_a_killed_process_leaves_no_lock_even_where_its_workers_live_on(tmp_path, holder):
    process, _ = holder(tmp_path / "run")
    process.kill()
    process.join(20)
    assert (tmp_path / "run" / ".lock").exists()
    with writable_folder(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(KeyError), writable_folder(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    with writable_folder(tmp_path / "kept"):
        (tmp_path / "kept" / "file").touch()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["file"]


def test_a_file_system_without_locks_is_warned_about(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with (
        pytest.warns(RuntimeWarning, match="can't be locked .Function not implemented."),
        writable_folder(tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_a_start_that_failed_leaves_the_folder_free(recordings, tmp_path, monkeypatch):
    """Without a checkpoint or a model there is nothing that a new run would overwrite."""

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", fail)
        with pytest.raises(MemoryError):
            train(small_config(recordings, tmp_path), tmp_path / "run", console=quiet())
    assert (tmp_path / "run" / "train.yaml").exists() and not holds_run(tmp_path / "run")
    again = small_config(recordings, tmp_path, "training.epochs=1", "training.seed=5")
    assert train(again, tmp_path / "run", resume=True, console=quiet()).epochs == 1
    with pytest.raises(ConfigError, match="holds a run already"):
        train(again, tmp_path / "run", console=quiet())


def test_somebody_elses_train_yaml_is_not_overwritten(recordings, tmp_path):
    config = small_config(recordings, tmp_path)
    (tmp_path / "mine").mkdir()
    config.save(tmp_path / "mine" / "train.yaml")
    with pytest.raises(ConfigError, match="holds a run already"):
        train(config, tmp_path / "mine", console=quiet())


@pytest.mark.slow
def test_two_commands_at_once(recordings, tmp_path):
    """The first one trains to its end, the second one ends with a sentence."""
    config = tmp_path / "config.yaml"
    small_config(recordings, tmp_path, "training.epochs=200").save(config)
    command = ("train", "--config", config, "--out", tmp_path / "run")
    first = start(*command, output=tmp_path / "first.txt")
    while not (tmp_path / "run" / "clips.csv").exists():
        time.sleep(0.01)
    second = start(*command, "--resume", output=tmp_path / "second.txt")
    second.join()
    assert second.exitcode == 2 and first.is_alive()
    assert "is writing to it" in (tmp_path / "second.txt").read_text()
    first.terminate()
    first.join()
