"""Loggers beyond TensorBoard: what they are told, and names that there are not."""

from __future__ import annotations

import pytest
from accelerate import tracking
from small_runs import quiet, small_config

from wavenet.classifier.training import trackers, train
from wavenet.errors import ConfigError


class Recorder(tracking.GeneralTracker):
    """A logger that remembers."""

    name = "wandb"
    requires_logging_directory = False
    made: list[Recorder] = []

    def __init__(self, project: str, **settings: object) -> None:
        super().__init__()
        self.project, self.settings = project, settings
        self.config, self.rows, self.finished = {}, [], False
        Recorder.made.append(self)

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step):
        self.rows.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["wandb"])
    Recorder.made.clear()
    return Recorder


def test_a_logger_is_told_every_epoch(recorder, recordings, tmp_path):
    config = small_config(recordings, tmp_path, "training.epochs=2", "training.loggers=wandb")
    train(config, tmp_path / "run", console=quiet())
    (made,) = recorder.made
    assert made.settings["name"] == "run" and made.settings["resume"] == "allow"
    assert made.config["training.epochs"] == 2 and made.finished
    assert [row["epoch"] for _, row in made.rows] == [1, 2]
    assert "validation_accuracy" in made.rows[0][1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("wanbd", "'wanbd'; accepted are .*wandb"), ("mlflow", "'mlflow', which needs: pip")],
)
def test_loggers_that_there_are_not(recorder, recordings, tmp_path, name, sentence):
    config = small_config(recordings, tmp_path, f"training.loggers={name}")
    with pytest.raises(ConfigError, match=f"training.loggers has {sentence}"):
        train(config, tmp_path / "run", console=quiet())
