"""Named architectures, and training that starts from a trained model."""

from __future__ import annotations

import shutil

import pytest
import torch
from small_runs import quiet, same, small_config
from typer.testing import CliRunner

import wavenet
from wavenet import WaveNetClassifier, create_model, load_model
from wavenet.classifier.inference.loading import start_from
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import train
from wavenet.cli import application
from wavenet.errors import ConfigError, ModelError
from wavenet.networks import list_models


def test_names():
    names = ["wavenet-tiny", "wavenet-small", "wavenet-base", "wavenet-paper"]
    assert list_models() == names
    assert wavenet.list_models()[:4] == names
    assert list_models("*small*") == ["wavenet-small"]


@pytest.mark.parametrize("name", list_models())
def test_every_preset_makes_a_model_that_classifies(name):
    model = create_model(name, labels=("a", "b", "c"), sample_rate=8000, head_layers=1).eval()
    assert isinstance(model, WaveNetClassifier)
    assert model.config.sample_rate == 8000 and model.config.head_layers == 1
    assert model(torch.zeros(1, 400)).shape == (1, 3)


def test_sizes_grow():
    sizes = [
        sum(p.numel() for p in create_model(name, labels=("a", "b")).parameters())
        for name in list_models()
    ]
    assert sizes == sorted(sizes)


def test_what_does_not_exist():
    with pytest.raises(ValueError, match="preset is 'wavenet-huge'; accepted are wavenet-tiny"):
        create_model("wavenet-huge", labels=("a", "b"))
    with pytest.raises(TypeError, match="channels"):
        create_model("wavenet-tiny", labels=("a", "b"), channels=3)
    with pytest.raises(ConfigError, match="model.preset is 'x'; accepted are wavenet-tiny"):
        load_config(None, ["model.preset=x"])
    with pytest.raises(ConfigError, match=r"model.preset is \[1\]; accepted are wavenet-tiny"):
        load_config(None, ["model.preset=[1]"])


def test_a_preset_in_the_configuration():
    config = load_config(None, ["model.preset=wavenet-tiny", "model.skip_channels=48"])
    assert config.model.residual_channels == 16 and config.model.skip_channels == 48
    assert not hasattr(config.model, "preset")


@pytest.fixture(scope="module")
def trained(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(small_config(recordings, folder, "training.epochs=1"), folder / "run", console=quiet())
    return folder / "run"


def _other_labels(recordings, folder):
    """The classes high, low and another one."""
    for old, new in (("high", "high"), ("low", "low"), ("middle", "another")):
        shutil.copytree(recordings / old, folder / new)
    return folder


def test_fine_tuning_with_other_labels(recordings, trained, tmp_path):
    """The architecture is the trained model's; it resumes without it."""
    data = _other_labels(recordings, tmp_path / "data")
    options = ["--from", str(trained), "--data", str(data), "--out", str(tmp_path / "tuned")]
    options += ["--set", "training.epochs=1", "--set", "model.dropout=0.5"]
    options += ["--set", f"data.cache={tmp_path / 'cache'}"]
    done = CliRunner().invoke(application(), ["train", *options])
    assert done.exit_code == 0, done.output
    tuned = load_model(tmp_path / "tuned")
    assert tuned.config.labels == ("another", "high", "low")
    assert tuned.config.residual_channels == 8 and tuned.config.dropout == 0.5
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "tuned", moved)
    config = load_config(moved / "train.yaml", ["training.init_from=gone"])
    config.save(moved / "train.yaml")
    train(config, moved, resume=True, console=quiet())
    assert same(moved, tmp_path / "tuned")


def test_what_is_taken_over(trained):
    saved = load_model(trained)
    fields = {**saved.config.__dict__, "labels": ("low", "new", "high"), "next_sample_weight": 0.1}
    torch.manual_seed(1)
    model = WaveNetClassifier(type(saved.config)(**fields))
    new_row = model.classifier.weight[1].clone()
    start_from(model, str(trained))
    assert torch.equal(model.stem.conv.weight, saved.stem.conv.weight)
    rows = {label: saved.classifier.weight[i] for i, label in enumerate(saved.config.labels)}
    assert torch.equal(model.classifier.weight[0], rows["low"])
    assert torch.equal(model.classifier.weight[1], new_row)
    assert torch.equal(model.classifier.weight[2], rows["high"])


def test_weights_that_do_not_fit(recordings, trained, tmp_path):
    wrong = [f"training.init_from={trained}", "model.skip_channels=12"]
    with pytest.raises(ConfigError, match=r"init_from .*don't fit: .* is \(.*asks for"):
        train(small_config(recordings, tmp_path, *wrong), tmp_path / "run", console=quiet())
    with pytest.raises(ModelError, match="nowhere: there is no such folder"):
        missing = small_config(recordings, tmp_path, "training.init_from=nowhere")
        train(missing, tmp_path / "other", console=quiet())
