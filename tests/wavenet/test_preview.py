"""`wavenet augment-preview` and a run with every augmentation there is."""

from __future__ import annotations

import json

import pytest
import soundfile
from small_runs import RATE, quiet, same, small_config
from typer.testing import CliRunner

from wavenet.classifier.report.preview import preview_augmentation
from wavenet.classifier.run_config import load_config
from wavenet.classifier.run_folder import checkpoints
from wavenet.classifier.training import train
from wavenet.classifier.training.processes import StopRequest
from wavenet.cli import application
from wavenet.errors import ConfigError, DataError, TrainingInterrupted

EVERYTHING = [
    "augmentation.crop=[0.6, 1]",
    "augmentation.speed=[0.9, 1.1]",
    "augmentation.polarity=true",
    "augmentation.low_cut_hz=[20, 200]",
    "augmentation.high_cut_hz=[800, 2000]",
    "augmentation.tilt_db=3",
    "augmentation.noise_snr_db=[0, 30]",
    "augmentation.noise_kinds=[white, pink]",
    "augmentation.mask_ms=10",
    "augmentation.between_class_probability=0.5",
    "augmentation.mixup_alpha=0.5",
    "training.label_smoothing=0.1",
    "model.next_sample_weight=0.1",
]


def test_preview_writes_what_training_hears(recordings, tmp_path):
    options = [f"--set={override}" for override in EVERYTHING]
    options += ["--set=model.sample_rate=4000", f"--set=data.cache={tmp_path / 'cache'}"]
    arguments = ["augment-preview", "--data", str(recordings / "all.csv"), "--clips", "2"]
    done = CliRunner().invoke(
        application(), [*arguments, "--versions", "2", "--out", str(tmp_path / "out"), *options]
    )
    assert done.exit_code == 0, done.output
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(left) == 7 and left[-1] == "preview.png"
    assert {name.split("-")[2] for name in left[:-1]} == {
        "original.wav",
        "epoch1.wav",
        "epoch2.wav",
    }
    first, second, original = (soundfile.read(tmp_path / "out" / name)[0] for name in left[:3])
    assert soundfile.info(tmp_path / "out" / left[0]).samplerate == RATE
    assert len(first) != len(second) or (first != second).any()
    assert original.any()


def test_preview_of_more_clips_than_there_are(recordings, tmp_path):
    with pytest.raises(ConfigError, match="--clips is 99; the training part has"):
        preview_augmentation(small_config(recordings, tmp_path), tmp_path / "out", 99, 1)


def test_every_augmentation_trains_and_resumes_bit_for_bit(recordings, tmp_path, monkeypatch):
    noise = [f"augmentation.noise_folder={recordings / 'high'}", "training.epochs=2"]
    config = small_config(recordings, tmp_path, *EVERYTHING, *noise)
    train(config, tmp_path / "whole", console=quiet())
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "signal", lambda self, step, ask=False: 2 * (step == 2))
        with pytest.raises(TrainingInterrupted):
            train(config, tmp_path / "stopped", console=quiet())
    progress = json.loads((checkpoints(tmp_path / "stopped")[-1] / "progress.json").read_text())
    assert (progress["step"], progress["batch"]) == (2, 2)
    train(load_config(tmp_path / "stopped" / "train.yaml"), tmp_path / "stopped", resume=True)
    assert same(tmp_path / "whole", tmp_path / "stopped")


def test_a_noise_folder_is_looked_at_before_training(recordings, tmp_path):
    wrong = ["augmentation.noise_snr_db=[0, 9]", f"augmentation.noise_folder={tmp_path / 'no'}"]
    with pytest.raises(DataError, match="noise_folder .*: is no folder that holds recordings"):
        train(small_config(recordings, tmp_path, *wrong), tmp_path / "run", console=quiet())
