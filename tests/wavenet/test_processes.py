"""Two processes train as one does: on the CPU, with gloo."""

from __future__ import annotations

import csv
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from forked import run_together
from small_runs import quiet, small_config, weights

from wavenet.classifier.data import EpochBatchSampler
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.run_folder import checkpoints
from wavenet.classifier.training import processes as processes_
from wavenet.classifier.training import train
from wavenet.classifier.training.batches import Shares
from wavenet.errors import TrainingError

pytestmark = pytest.mark.slow

# 24 training clips and 10 a batch: batches are of unequal sizes.
# Adam makes rounding errors as large as its steps where a gradient is zero but for them, as that of
# attention's score is: hence the pooling. Dropout draws differently in each process.
OPTIONS = (
    "data.validation_by_group=false",
    "augmentation.noise_snr_db=[0, 30]",
    "augmentation.between_class_probability=0.3",
    "model.dropout=0",
    "model.next_sample_weight=0.1",
    "training.batch_size=10",
    "training.epochs=3",
    "training.ema_decay=0.9",
    "training.learning_rate=2e-3",
)


def _figures(run: Path) -> list[dict[str, float]]:
    with open(run / "metrics.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(recordings, tmp_path_factory):
    """The run of one process, and its configuration."""
    folder = tmp_path_factory.mktemp("alone")
    config = small_config(recordings, folder, *OPTIONS)
    config.save(folder / "config.yaml")
    train(config, folder / "run", console=quiet())
    return folder / "run", config


def _with(config: RunConfig, **training: int) -> RunConfig:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **training))


def _assert_equal(alone: Path, together: Path) -> None:
    """Up to rounding: weights, average, metrics of training and validation."""
    one, two = weights(alone), weights(together)
    assert one.keys() == two.keys()
    for name, value in one.items():
        if not name.startswith("state optimizer.exp_avg_sq"):  # its scale is the gradients' square
            assert torch.allclose(value, two[name], rtol=1e-3, atol=2e-5), name
    for row, other in zip(_figures(alone), _figures(together), strict=True):
        for name in row.keys() - {"seconds", "clips_per_second"}:
            assert other[name] == pytest.approx(row[name], rel=1e-4), name


def test_torchrun_trains_in_two_processes_as_in_one(alone, tmp_path):
    run, _ = alone
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    # The default device finds its fellows without a GPU, too.
    text = (run.parent / "config.yaml").read_text()
    assert "device: cpu" in text
    (tmp_path / "auto.yaml").write_text(text.replace("device: cpu", "device: auto"))
    options = ["--config", str(tmp_path / "auto.yaml"), "--out", str(tmp_path / "two")]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "wavenet", "train", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("best validation accuracy") == 1  # one of them speaks
    _assert_equal(run, tmp_path / "two")
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1  # one writer


def test_one_goes_on_where_two_were_stopped(alone, tmp_path):
    """By a signal to one of two."""
    run, config = alone
    # In step 7 of 9; the processes ask one another after every eighth, which is within an epoch.
    command = ("train", "--config", run.parent / "config.yaml", "--out", tmp_path / "mixed")
    codes = run_together(*command, output=tmp_path / "said", stop_in_step=7)
    assert codes == 2 * [128 + signal.SIGTERM]
    assert "interrupted and saved; to go on" in (tmp_path / "said" / "0.txt").read_text()
    assert (tmp_path / "said" / "1.txt").read_text() == ""
    assert checkpoints(tmp_path / "mixed")[-1].name == "step-00000008"
    train(config, tmp_path / "mixed", resume=True, console=quiet())
    _assert_equal(run, tmp_path / "mixed")


# In 7 parts, of a batch of 10 or 4 clips: many shares have no clip at all; and in as many as fit.
@pytest.mark.parametrize("cut", ["training.accumulation=7", "training.memory_gb=0.0025"])
def test_two_processes_go_on_in_parts_where_one_was_stopped(alone, tmp_path, monkeypatch, cut):
    run, config = alone

    def stop(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("wavenet.classifier.training.classification.validate", stop)
    with pytest.raises(KeyboardInterrupt):
        # A checkpoint within the first epoch; then training breaks off.
        steps = _with(config, checkpoint_steps=2)
        train(steps, tmp_path / "run", console=quiet())
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000002"
    parts = ("--set", cut, "--config", run.parent / "config.yaml")
    command = ("train", *parts, "--out", tmp_path / "run", "--resume")
    assert run_together(*command, output=tmp_path / "said") == [0, 0]
    _assert_equal(run, tmp_path / "run")


def test_two_processes_cross_validate(alone, tmp_path):
    """They part with the same results: those of the first, which tests and writes alone."""
    options = ("--config", alone[0].parent / "config.yaml", "--set", "training.epochs=1")
    command = ("cross-validate", "--folds", *options, "--out", tmp_path / "cv")
    assert run_together(*command, output=tmp_path / "said") == [0, 0]
    content = json.loads((tmp_path / "cv" / "cross_validation.json").read_text())
    assert [part["clips"] for part in content["parts"]] == [18, 18]
    said = (tmp_path / "said" / "0.txt").read_text()
    assert "fold 1, 2 of 2" in said and f"accuracy {content['accuracy']['mean']:.2%}" in said
    assert (tmp_path / "said" / "1.txt").read_text() == ""


def test_an_error_in_the_run_folder_ends_all_processes(alone, tmp_path):
    """The main process sees it; none waits for another for ever."""
    options = ("--config", alone[0].parent / "config.yaml", "--set", "training.seed=1")
    command = ("train", *options, "--out", alone[0], "--resume")
    assert run_together(*command, output=tmp_path / "said") == [2, 2]
    said = " ".join((tmp_path / "said" / "0.txt").read_text().split())
    assert "resumed with another configuration than its" in said
    assert (tmp_path / "said" / "1.txt").read_text() == ""


@pytest.mark.parametrize("said", ["2", "many"])
def test_a_number_of_processes_without_a_launcher(monkeypatch, said):
    monkeypatch.setenv("WORLD_SIZE", said)
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    message = f"WORLD_SIZE is '{said}', but RANK and MASTER_ADDR and MASTER_PORT is not set to what"
    with pytest.raises(TrainingError, match=message), processes_.processes("auto"):
        pass


def test_processes_that_are_not_joined_are_refused(monkeypatch):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    alone = SimpleNamespace(
        distributed_type=DistributedType.NO, num_processes=1, end_training=lambda: None
    )
    monkeypatch.setattr(processes_, "Accelerator", lambda **settings: alone)
    with (
        pytest.raises(TrainingError, match="WORLD_SIZE is 2, but this process trains with 0 other"),
        processes_.processes("auto"),
    ):
        pass


def test_sharded_training_is_refused(monkeypatch):
    sharded = SimpleNamespace(distributed_type=DistributedType.FSDP, end_training=lambda: None)
    monkeypatch.setattr(processes_, "Accelerator", lambda **settings: sharded)
    with (
        pytest.raises(TrainingError, match="accelerate is configured for FSDP; accepted is data"),
        processes_.processes("cpu"),
    ):
        pass


@pytest.mark.parametrize(("parts", "processes"), [(1, 1), (1, 2), (3, 2), (2, 5)])
def test_shares_are_the_whole(parts, processes):
    """Every clip once, in the batch in which one process has it; skipping drops whole batches."""

    def shares(process: int, parts: int, processes: int, done: int = 0) -> list[list]:
        sampler = EpochBatchSampler([0, 1] * 13, 6, seed=3, lengths=list(range(26)))
        share = Shares(sampler, parts, processes, process)
        share.set_position(2, done)
        return list(share)

    whole = shares(0, 1, 1)
    assert [len(batch) for batch in whole].count(6) == 4 and len(whole) == 5
    dealt = [shares(process, parts, processes) for process in range(processes)]
    for index, batch in enumerate(whole):
        part = slice(index * parts, (index + 1) * parts)
        assert sorted(d for mine in dealt for piece in mine[part] for d in piece) == sorted(batch)
    assert shares(0, parts, processes, 3) == dealt[0][3 * parts :]
