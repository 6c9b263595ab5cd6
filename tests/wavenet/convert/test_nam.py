"""Neural Amp Modeler's files become amplifiers, and what is none is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_amplifiers import played
from typer.testing import CliRunner

import wavenet
from benchmarks.amplifier.network import Network, write_theirs
from wavenet.cli import application
from wavenet.convert import import_checkpoint, load_checkpoint
from wavenet.errors import ModelError
from wavenet.networks.amplifier import Amplifier

SILENCE = np.zeros(5000, np.float32)  # more than they hear


@pytest.fixture(params=[False, True], ids=["no gates", "gates"])
def network(request) -> Network:
    return Network.drawn(request.param)


@pytest.fixture
def theirs(network, tmp_path) -> Path:
    write_theirs(network, tmp_path / "model.nam")
    return tmp_path / "model.nam"


def test_it_is_the_network(network, theirs):
    x = np.random.default_rng(1).uniform(-0.5, 0.5, 3000)
    exact = network.exact(np.concatenate([SILENCE, x]))[len(SILENCE) :]
    model = load_checkpoint(theirs, dtype=torch.float64)
    assert model.receptive_field == 1 + 2 * 2 * 1023
    np.testing.assert_allclose(played(model, x), exact, atol=1e-12)
    made = played(load_checkpoint(theirs), np.float32(x))
    np.testing.assert_allclose(made, exact, atol=2e-6 * np.abs(exact).max())


def test_what_is_said_of_it(network, theirs):
    imported = import_checkpoint(theirs)
    gated = ", gated" * network.gated
    layers = f"10 layers of 16 channels{gated}, 10 layers of 8 channels{gated}"
    assert imported.found == f"Neural Amp Modeler, WaveNet: {layers}, 48000 Hz"
    assert imported.assumed == ()
    content = json.loads(theirs.read_text())
    del content["sample_rate"]
    theirs.write_text(json.dumps(content))
    assert import_checkpoint(theirs).assumed == ("sample_rate 48000.0",)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(application(), [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_from_their_file_to_that_of_the_c_library(theirs, tmp_path):
    said = run("convert", theirs, "--out", tmp_path / "clean")
    assert "Neural Amp Modeler, WaveNet" in said
    model = wavenet.load_model(tmp_path / "clean")
    assert isinstance(model, Amplifier)
    x = torch.rand(2, 100)
    assert torch.equal(model(x), load_checkpoint(theirs)(x))
    said = run("info", tmp_path / "clean")
    assert "10 layers of 16 channels, 3 taps" in said and "4093 samples, 85 ms" in said
    assert "export" in said
    run("export", tmp_path / "clean", "--out", tmp_path / "exported")
    assert (tmp_path / "exported" / "model.wavenet").read_bytes()[:8] == b"wavenet\0"


@pytest.mark.parametrize("command", ["generate", "evaluate", "vocode"])
def test_commands_that_want_something_else_say_so(theirs, tmp_path, command):
    run("convert", theirs, "--out", tmp_path / "clean")
    out = ["--out", tmp_path / "out"]
    more = {"generate": out, "vocode": [theirs, *out], "evaluate": []}[command]
    done = CliRunner().invoke(application(), [command, str(tmp_path / "clean"), *map(str, more)])
    assert isinstance(done.exception, ModelError | SystemExit), done.exception
    said = " ".join(f"{done.output} {done.exception}".split())
    assert "is an amplifier; accepted here: classifier, wavenet, waveglow" in said


@pytest.mark.parametrize(
    "where, value, says",
    [
        (["architecture"], "LSTM", "its architecture is 'LSTM'; accepted is 'WaveNet'"),
        (["config"], None, "its config is no object"),
        (["config", "head"], {"channels": 3}, "its config has a head; accepted is none"),
        (["config", "layers"], [], "no layers"),
        (["config", "layers", 0], 3, "its layers 0 is no object"),
        (["config", "layers", 0, "activation"], "ReLU", "activation 'ReLU'; accepted is 'Tanh'"),
        (["config", "layers", 1, "condition_size"], 2, "layers 1 have condition_size 2; accepted"),
        (["config", "layers", 1, "input_size"], 4, "input_size 4; accepted is 16"),
        (["config", "layers", 0, "head_size"], 4, "head_size 4; accepted is 8"),
        (
            ["config", "layers", 0, "channels"],
            1 << 40,
            "input_size 16; accepted is 1099511627776",
        ),
        (["config", "layers", 0, "kernel_size"], 1 << 16, "dilations is .*numbers are kept"),
        (["config", "layers", 0, "dilations"], [1 << 70], "dilations is .*; accepted is 1 to 4096"),
        (["config", "condition_dsp"], {"architecture": "LSTM"}, "has a condition_dsp; accepted is"),
        (["config", "in_channels"], 2, "has in_channels 2; accepted is 1"),
        (["config", "packed"], True, "its config has 'packed'; accepted are layers, head"),
        (["config", "layers", 0, "dilations"], [1, 0], "dilations is .1, 0.; accepted is 1 to"),
        (["config", "layers", 0, "dilations"], 4, "dilations 4; accepted is a list"),
        (["config", "layers", 0, "kernel_size"], 4, "weights; accepted are"),
        (["config", "layers", 0, "bottleneck"], 4, "layers 0 have 'bottleneck'; accepted are"),
        (["config", "layers", 0, "gated"], "yes", "gated is 'yes'; accepted is true or false"),
        (["config", "layers", 1, "head_bias"], None, "head_bias that is true or false"),
        (["weights"], [1.0], "has 1 weights; accepted are 13802"),
        (["weights"], ["x"], "has no weights; accepted is a list of finite numbers"),
        (["weights"], [10**400], "has no weights; accepted is a list of finite numbers"),
        (["weights"], [1e300], "has no weights; accepted is a list of finite numbers"),
        (["sample_rate"], 10**400, "accepted is a number"),
        (["sample_rate"], 1e300, "accepted is more than 0, at most"),
        (["sample_rate"], "fast", "sample_rate is 'fast'; accepted is a number"),
        (["sample_rate"], -1, "sample_rate is -1.0; accepted is more than 0"),
    ],
)
def test_other_files_are_refused(tmp_path, where, value, says):
    path = tmp_path / "model.nam"
    write_theirs(Network.drawn(False), path)
    content: Any = json.loads(path.read_text())
    at = content
    for name in where[:-1]:
        at = at[name]
    at[where[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=says) as refused:
        load_checkpoint(path)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


def test_the_largest_sizes_are_counted_without_memory(tmp_path):
    path = tmp_path / "model.nam"
    write_theirs(Network.drawn(False), path)
    content: Any = json.loads(path.read_text())
    array = content["config"]["layers"][1]
    array.update(channels=1 << 16, kernel_size=1, gated=True, dilations=[1] * (1 << 12))
    content["config"]["layers"] = [{**array, "input_size": 1, "head_size": 1}]
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"weights; accepted are \d{14},"):
        load_checkpoint(path)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "model.nam"
    with pytest.raises(ModelError, match="can't be read: No such file"):
        load_checkpoint(path)
    for content, says in ((b"\xff\xfe{", "is damaged, or no .nam"), (b"[]", "no object of JSON")):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=says):
            load_checkpoint(path)
    write_theirs(Network.drawn(False), path)
    with pytest.raises(ModelError, match="says all by itself"):
        load_checkpoint(path, stacks=4)
