"""Training: configuration, the loop, what a run leaves behind, resuming."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
import yaml
from forked import start
from safetensors.torch import load_file
from small_runs import RATE, quiet, same, small_config

from wavenet import load_model
from wavenet.classifier.data import Clip, DataConfig, prepare_data, split_clips
from wavenet.classifier.inference import evaluate
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.run_config import load_config
from wavenet.classifier.run_folder import checkpoints
from wavenet.classifier.training import train
from wavenet.classifier.training.learner import Learner, learning_rate
from wavenet.configs import FOLDER
from wavenet.errors import CheckpointError, ConfigError, DataError, TrainingError
from wavenet_kernels import calibration
from wavenet_kernels.calibration import keys


def test_a_run_learns_and_leaves_what_it_should(tones):
    run = tones.run
    assert tones.result.accuracy == 1.0
    left = {path.name for path in run.iterdir()}
    assert left == {
        "backends.json",
        "model.safetensors",
        "config.json",
        "README.md",
        "train.yaml",
        "clips.csv",
        "metrics.csv",
        "training_curve.png",
        "tensorboard",
        "checkpoints",
    }
    assert len(list((run / "checkpoints").iterdir())) <= 2  # the newest, and the best one
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(i + 1) for i in range(25)]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert load_config(run / "train.yaml") == tones.config
    model = load_model(run)
    assert model.config.labels == ("high", "low", "middle")
    chosen = choose_clips(run, model.config, None, None)
    assert chosen.split == "test" and len(chosen.clips) == 9
    assert evaluate(model, chosen.clips, chosen.cache).accuracy == 1.0


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_run_again_is_the_same_with_any_workers(recordings, one_epoch, tmp_path, workers):
    more = ("training.epochs=1", f"data.workers={workers}")
    train(small_config(recordings, tmp_path, *more), tmp_path / "run", console=quiet())
    assert same(one_epoch[0], tmp_path / "run")


@pytest.mark.slow
def test_killed_at_random_moments_it_resumes_bit_for_bit(recordings, tmp_path):
    """SIGKILL, again and again, then --resume to the end: the weights of an unbroken run."""
    more = ["training.epochs=3", "training.checkpoint_steps=2", "training.ema_decay=0.9"]
    more += ["augmentation.mixup_alpha=0.5", "augmentation.noise_snr_db=[0, 30]"]
    small_config(recordings, tmp_path, *more).save(tmp_path / "config.yaml")
    command = ("train", "--resume", "--config", tmp_path / "config.yaml", "--out")
    # Also in a process of its own: rounding depends on the number of threads.
    unbroken = start(*command, tmp_path / "whole", output=tmp_path / "said.txt")
    unbroken.join()
    assert unbroken.exitcode == 0, (tmp_path / "said.txt").read_text()
    random_ = random.Random(7)
    kills = 0
    for _ in range(40):
        process = start(*command, tmp_path / "killed", output=tmp_path / "said.txt")
        # Mostly some moments after a new checkpoint, so that kills fall into training and the run
        # gets on; now and then right after the folder's first change, wherever that falls.
        watched = _signs if random_.random() < 0.8 else _files
        before = watched(tmp_path / "killed")
        while process.is_alive() and watched(tmp_path / "killed") == before:
            time.sleep(0.002)
        process.join(timeout=random_.uniform(0.0, 0.25))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            continue
        assert process.exitcode == 0, (tmp_path / "said.txt").read_text()
        break
    assert process.exitcode == 0
    assert kills >= 2
    assert same(tmp_path / "killed", tmp_path / "whole")
    with open(tmp_path / "killed" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "whole" / "metrics.csv", newline="") as file:
        expected = list(csv.DictReader(file))
    timing = ("seconds", "clips_per_second")
    for got, truth in zip(rows, expected, strict=True):
        assert {k: v for k, v in got.items() if k not in timing} == {
            k: v for k, v in truth.items() if k not in timing
        }


def _files(run: Path) -> set[str]:
    """All that is in the run folder; os.walk minds no folder that vanishes under it."""
    return {os.path.join(at, name) for at, dirs, files in os.walk(run) for name in dirs + files}


def _signs(run: Path) -> set[str]:
    """The whole checkpoints there are."""
    return {path for path in _files(run) if os.path.basename(path).startswith("step-")}


@pytest.fixture(scope="module")
def one_epoch(recordings, tmp_path_factory):
    """A run of one epoch, and its configuration."""
    folder = tmp_path_factory.mktemp("one_epoch")
    config = small_config(recordings, folder, "training.epochs=1")
    train(config, folder / "run", console=quiet())
    return folder / "run", config


def test_an_unfinished_checkpoint_is_not_taken(one_epoch, tmp_path):
    run = shutil.copytree(one_epoch[0], tmp_path / "run")
    whole = checkpoints(run)[-1]
    shutil.copytree(whole, run / "checkpoints" / ".partial")
    (run / "checkpoints" / ".partial" / "model.safetensors").write_bytes(b"half")
    result = train(one_epoch[1], run, resume=True, console=quiet())
    assert result.epochs == 1


@pytest.mark.parametrize("content", [b"", b"nonsense"])
@pytest.mark.parametrize("name", ["state.safetensors", "model.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_named(one_epoch, tmp_path, name, content):
    run = shutil.copytree(one_epoch[0], tmp_path / "run")
    last = checkpoints(run)[-1]
    (last / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{last.name}: the checkpoint can't be resumed"):
        train(one_epoch[1], run, resume=True, console=quiet())


def test_data_that_changed_is_not_resumed(recordings, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    run = tmp_path / "run"
    train(small_config(copy, tmp_path, "training.epochs=1"), run, console=quiet())
    chosen = choose_clips(run, load_model(run).config, None, "validation")
    (copy / "low" / "5.wav").unlink()
    with pytest.raises(ConfigError, match=r"has changed, see .*clips\.csv"):
        train(small_config(copy, tmp_path, "training.epochs=1"), run, resume=True, console=quiet())
    # Evaluation goes by what the run did, not by what the folder holds now.
    later = choose_clips(run, load_model(run).config, None, "validation")
    assert {c.path for c in later.clips} == {c.path for c in chosen.clips if c.path.exists()}


def test_other_recordings_are_evaluated(recordings, one_epoch, tmp_path):
    """A test set alone, and one class alone, are fine to evaluate."""
    run, _ = one_epoch
    shutil.copytree(recordings / "low", tmp_path / "others" / "low")
    chosen = choose_clips(run, load_model(run).config, tmp_path / "others", None)
    assert chosen.split == "all" and len(chosen.clips) == 12
    lines = (recordings / "all.csv").read_text().splitlines()
    tests = [lines[0], *(line for line in lines if ",test," in line)]
    only_tests = recordings / "tests.csv"
    only_tests.write_text("\n".join(tests))
    chosen = choose_clips(run, load_model(run).config, only_tests, None)
    assert chosen.split == "test" and len(chosen.clips) == 9


def test_a_loss_that_is_no_number_stops_the_run(recordings, tmp_path):
    config = small_config(recordings, tmp_path, "training.learning_rate=1e30")
    with pytest.raises(TrainingError, match="the loss is not finite in epoch 1; a lower"):
        train(config, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_loss_that_is_no_number_takes_no_good_checkpoint_away(recordings, tmp_path, monkeypatch):
    """With checkpoints within an epoch, of which the next one would replace the last good one."""
    original = Learner.step

    def step(self, parts, clips, now):
        sums = original(self, parts, clips, now)
        sums[0] += float("nan") if now == 4 else 0.0
        return sums

    monkeypatch.setattr(Learner, "step", step)
    config = small_config(recordings, tmp_path, "training.checkpoint_steps=1")
    with pytest.raises(TrainingError, match="the loss is not finite in epoch 2; a lower"):
        train(config, tmp_path / "run", console=quiet())
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000004"


def test_run_folder_of_another_run_is_refused(recordings, one_epoch, tmp_path):
    run, config = one_epoch
    with pytest.raises(ConfigError, match="holds a run already; --resume goes on with it"):
        train(config, run, console=quiet())
    with pytest.raises(ConfigError, match="another configuration.*different are training.seed"):
        other = small_config(recordings, tmp_path, "training.epochs=1", "training.seed=1")
        train(other, run, resume=True, console=quiet())


def test_second_loss_label_smoothing_and_balance_train(recordings, tmp_path):
    config = small_config(
        recordings,
        tmp_path,
        "model.next_sample_weight=0.1",
        "training.label_smoothing=0.1",
        "training.balanced=true",
        "training.epochs=1",
    )
    train(config, tmp_path / "run", console=quiet())
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert "next_sample.logits.weight" in weights
    load_model(tmp_path / "run")


def test_leave_one_group_out(recordings, tmp_path):
    config = small_config(recordings, tmp_path, "data.leave_out_group=person2", "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    model = load_model(tmp_path / "run")
    chosen = choose_clips(tmp_path / "run", model.config, None, None)
    assert {int(clip.path.stem) % 3 for clip in chosen.clips} == {2}
    assert len(chosen.clips) == 12


def test_validation_never_comes_from_the_test_part():
    clips = [
        Clip(Path(f"{label}{i}.wav"), label, split="test" if i < 5 else "train", group=f"g{i % 3}")
        for label in ("a", "b")
        for i in range(25)
    ]
    config = DataConfig(source="x", validation_fraction=0.2)
    assert {c.group for c in split_clips(clips, config, seed=3).validation} == {"g0"}
    config = DataConfig(source="x", validation_fraction=0.2, validation_by_group=False)
    splits = split_clips(clips, config, seed=3)
    assert {c.split for c in splits.test} == {"test"}
    assert {c.split for c in splits.train + splits.validation} == {"train"}
    assert len(splits.validation) == 8
    assert not set(splits.train) & set(splits.validation)
    left_out = split_clips(clips, DataConfig(source="x", leave_out_group="g1"), seed=3)
    assert {c.group for c in left_out.test} == {"g1"}
    assert not any(c.group == "g1" for c in left_out.train + left_out.validation)
    with pytest.raises(DataError, match="no clip has the group 'g9'"):
        split_clips(clips, DataConfig(source="x", leave_out_group="g9"), seed=3)


def test_clips_that_can_not_be_trained_on(recordings, tmp_path):
    """Before anything is read, and after what can't be used was sorted out."""

    def sentence(*rows: str) -> str:
        manifest = recordings / "wrong.csv"
        manifest.write_text("\n".join(("path,label,split", *rows)))
        data = DataConfig(source=str(manifest), cache=str(tmp_path))
        with pytest.raises(DataError) as caught:
            prepare_data(data, RATE, 1, 0)
        return str(caught.value)

    tests = [f"{label}/0.wav,{label},test" for label in ("low", "high")]
    train_ = [f"{label}/{i}.wav,{label},train" for label in ("low", "high") for i in (4, 5)]
    assert "wrong.csv: no clip is left to train on; all are in other splits" in sentence(*tests)
    assert "have one class only, 'low'" in sentence(*tests, *train_[:2])
    other = "middle/0.wav,middle"
    for split in ("test", "validation"):
        strange = sentence(*tests, *train_, "high/6.wav,high,validation", f"{other},{split}")
        assert f"the {split} clips have labels that no training clip has: middle" in strange


def test_unusable_data_leaves_no_run_folder(recordings, tmp_path):
    config = small_config(recordings, tmp_path, "data.leave_out_group=nobody")
    with pytest.raises(DataError, match="no clip has the group 'nobody'"):
        train(config, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == 1.0
    assert all(a < b for a, b in zip(rates[:10], rates[1:11], strict=True))
    assert all(a > b for a, b in zip(rates[10:-1], rates[11:], strict=True))
    assert rates[-1] < 0.001


CONFIG_ERRORS = {
    "no file": ("missing.yaml", [], "missing.yaml: there is no such configuration file"),
    "not YAML": ("a: [1", [], "can't be read as YAML"),
    "not sections": ("- 1", [], "holds a list; accepted are sections"),
    "unknown section": ("optimizer: {}", [], "no section 'optimizer'; there are model, data"),
    "unknown field": ("training: {lr: 1}", [], "training has no field 'lr'; it has epochs"),
    "labels": ("model: {labels: [a, b]}", [], "model has no field 'labels'"),
    "not a section": ("training: 3", [], "training is 3; accepted are fields and values"),
    "wrong type": ("training: {epochs: many}", [], "training.epochs is 'many'; accepted is an int"),
    "not a number": (
        "training: {learning_rate: x}",
        [],
        "learning_rate is 'x'; accepted is a finite",
    ),
    "not finite": ("model: {frame_ms: .nan}", [], "frame_ms is nan; accepted is a finite"),
    "seed": ("training: {seed: 99999999999}", [], "seed is 99999999999; accepted is 0 or more"),
    "a section that is false": ("data: false", [], "data is False; accepted are fields"),
    "noise": ("augmentation: {noise_snr_db: 5}", [], "augmentation.noise_snr_db is 5"),
    "out of range": ("training: {epochs: 0}", [], "training.epochs is 0; accepted is 1 or more"),
    "model": ("model: {pooling: sum}", [], "model.pooling is 'sum'; accepted are"),
    "augmentation": ("augmentation: {gain_db: -1}", [], "augmentation.gain_db is -1"),
    "override form": ("", ["epochs=3"], "'epochs=3': accepted is section.field=value"),
    "override value": ("", ["training.epochs=["], "'\\[' is not a YAML value"),
}


@pytest.mark.parametrize("name", CONFIG_ERRORS)
def test_config_errors(name, tmp_path):
    content, overrides, sentence = CONFIG_ERRORS[name]
    path = tmp_path / "missing.yaml"
    if name != "no file":
        path.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        load_config(path, overrides)


def test_config_is_resolved_in_full_and_overridden(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("training: {learning_rate: 1e-3, epochs: 5}\nmodel: {stacks: 2}\n")
    config = load_config(path, ["training.epochs=7", "augmentation.noise_snr_db=[10, 20]"])
    assert config.training.learning_rate == 1e-3
    assert config.training.epochs == 7
    assert config.model.stacks == 2
    assert config.augmentation.noise_snr_db == (10, 20)
    config.save(tmp_path / "resolved.yaml")
    content = yaml.safe_load((tmp_path / "resolved.yaml").read_text())
    assert content["model"]["residual_channels"] == 64
    assert load_config(tmp_path / "resolved.yaml") == config


def test_shipped_configs_load():
    for path in FOLDER.glob("*.yaml"):
        load_config(path)


@pytest.mark.slow
def test_a_run_keeps_to_the_backends_that_it_began_with(recordings, tmp_path, monkeypatch, gpu):
    """Whatever is measured later; they are in the run folder."""
    import fakes.right

    served = []
    forward = fakes.right.forward

    def counted(call, outputs):
        served.append(call.operator)
        forward(call, outputs)

    monkeypatch.setattr(fakes.right, "forward", counted)
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(tmp_path / "decisions"))
    gpu.has(reference=2.0, right=1.0)
    config = small_config(recordings, tmp_path, "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    recorded = (tmp_path / "run" / "backends.json").read_text()
    content = json.loads(recorded)
    assert content["where"]["device"]["name"] == "Fake GPU"
    kinds = [entry["key"]["kind"] for entry in content["decisions"]]
    assert {kind["step"] for kind in kinds if kind["operator"] == "residual_stack"} == {True, False}
    assert {entry["content"]["candidate"]["backend"] for entry in content["decisions"]} == {"right"}
    measured, before = len(gpu.timed), len(served)
    assert measured > 0

    calibration.forget()
    gpu.take(right=9.0)
    for newest in checkpoints(tmp_path / "run"):
        shutil.rmtree(newest)
    train(config, tmp_path / "run", resume=True, console=quiet())
    assert len(gpu.timed) == measured and len(served) > before
    assert (tmp_path / "run" / "backends.json").read_text() == recorded

    gpu.take(right=1.0, reference=2.0)
    monkeypatch.setattr(keys, "facts_of", lambda device: {"type": "cpu", "name": "Another"})
    for newest in checkpoints(tmp_path / "run"):
        shutil.rmtree(newest)
    train(config, tmp_path / "run", resume=True, console=quiet())
    assert len(gpu.timed) > measured  # of another device the record says nothing
    (tmp_path / "run" / "backends.json").write_text("{")
    train(config, tmp_path / "run", resume=True, console=quiet())
    assert "Another" in (tmp_path / "run" / "backends.json").read_text()


def test_where_calibration_is_off_a_run_records_nothing(recordings, tmp_path, monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "off")
    config = small_config(recordings, tmp_path, "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run" / "backends.json").exists()
