"""`wavenet sweep`: combinations, failures, going on, the table."""

from __future__ import annotations

import json

import pytest
from small_runs import OVERRIDES

from wavenet.classifier.run_config import load_config
from wavenet.classifier.sweep import load_sweep, run_sweep
from wavenet.errors import ConfigError, DataError, TrainingError

FIXED = [o for o in OVERRIDES if not o.startswith(("model.dropout", "training.learning_rate"))]
SECTION = """
training: {epochs: 1}
sweep:
  training.learning_rate: [0.01, 0.02]
  model.dropout: [0.1]
  training.seed: [0, 1]
"""


@pytest.fixture
def points(tmp_path):
    (tmp_path / "sweep.yaml").write_text(SECTION)
    return load_sweep(tmp_path / "sweep.yaml", [o for o in FIXED if "epochs" not in o])


def test_every_combination_is_a_run(points, tmp_path):
    assert [point.name for point in points] == [
        f"learning_rate={rate},dropout=0.1,seed={seed}" for rate in (0.01, 0.02) for seed in (0, 1)
    ]
    assert points[3].config.training.learning_rate == 0.02
    assert points[3].config.training.seed == 1 and points[3].config.model.dropout == 0.1
    assert load_config(tmp_path / "sweep.yaml").training.epochs == 1  # `wavenet train` passes it


def test_a_run_that_fails_is_named_and_the_others_go_on(points, tmp_path):
    def train(config, run):
        if config.training.learning_rate == 0.02 and config.training.seed:
            raise TrainingError("the loss is not finite")
        return {
            "validation_accuracy": 0.5 + config.training.learning_rate * (1 + run.name.count("1"))
        }

    outcomes = run_sweep(points, tmp_path, train)
    assert [outcome.error for outcome in outcomes] == ["", "", "", "the loss is not finite"]
    content = json.loads((tmp_path / "sweep.json").read_text())
    first, second = content["without_seeds"]
    assert first["settings"] == {"training.learning_rate": 0.02, "model.dropout": 0.1}
    assert (first["runs"], first["failed"]) == (2, 1) and first["mean"] == pytest.approx(0.54)
    assert second["mean"] == pytest.approx((0.53 + 0.54) / 2)
    assert second["standard_deviation"] == pytest.approx(0.01 / 2**0.5)


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_settings_that_the_data_refuses_stop_no_other(points, tmp_path, kind):
    def train(config, run):
        if config.training.seed:
            raise kind("no such fold")
        return {"validation_accuracy": 0.5}

    outcomes = run_sweep(points, tmp_path, train)
    assert [outcome.error for outcome in outcomes] == ["", "no such fold"] * 2


def test_where_nothing_ends_the_command_fails(tmp_path, wavenet):
    (tmp_path / "sweep.yaml").write_text("sweep: {training.seed: [0, 1]}")
    command = ("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out", "--data", tmp_path)
    done = wavenet(*command)
    assert done.code == 2 and "2, 2 failed" in done.out and "seed=1: " in done.out


def test_a_sweep_is_one_process(tmp_path, monkeypatch, wavenet):
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "sweep.yaml").write_text("sweep: {training.seed: [0, 1]}")
    done = wavenet("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out")
    assert done.code == 2 and "WORLD_SIZE is 2; accepted is 1" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "overrides", "sentence"),
    [
        ("training: {epochs: 1}", [], "has no section 'sweep'"),
        ("sweep: {training.epochs: 3}", [], "sweep.training.epochs is 3; accepted is a list"),
        ("sweep: {training.epochs: [1, 0]}", [], "epochs is 0; accepted is 1 or more"),
        ("sweep: {training.epochs: [1]}", ["training.epochs=2"], "accepted is one of the two"),
    ],
)
def test_what_no_sweep_is(tmp_path, text, overrides, sentence):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_sweep(tmp_path / "sweep.yaml", overrides)


def test_the_command_goes_on_where_it_was(recordings, tmp_path, wavenet):
    (tmp_path / "sweep.yaml").write_text("sweep: {training.learning_rate: [0.01, 0.02]}")
    more = [part for o in [*FIXED, "training.epochs=1"] for part in ("--set", o)]
    more += ["--set", f"data.cache={tmp_path / 'cache'}", "--data", recordings / "all.csv"]
    command = ("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out", *more)
    done = wavenet(*command)
    assert done.code == 0, done.err
    assert "learning_rate=0.01, 1 of 2" in done.out and "sweep.json is in" in done.out
    before = (tmp_path / "out" / "sweep.json").read_text()
    again = wavenet(*command)
    assert again.code == 0 and "epoch   1/1" not in again.out
    assert (tmp_path / "out" / "sweep.json").read_text() == before
