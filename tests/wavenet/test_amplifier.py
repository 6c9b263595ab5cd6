"""Amplifiers: their mathematics, configuration and saved form."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_amplifiers import small_amplifier

import wavenet
from wavenet import Amplifier, AmplifierConfig
from wavenet.errors import DataError
from wavenet.networks.amplifier import LayersConfig


def test_a_sample_hears_its_receptive_field_and_no_more():
    model = small_amplifier().double()
    assert model.receptive_field == 1 + 2 * 38 + 3
    assert model.receptive_field_ms == 10
    x = torch.rand(1, 200, dtype=torch.float64, requires_grad=True)
    model(x)[0, 150].backward()
    heard = x.grad[0].nonzero()[:, 0]
    assert heard.min() == 150 - model.receptive_field + 1 and heard.max() == 150


def test_gradients():
    model = small_amplifier(LayersConfig(2, (1, 2)), LayersConfig(2, (3,), gated=True)).double()
    x = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *model.parameters()))


def test_saved_and_loaded(tmp_path):
    model, x = small_amplifier(), torch.rand(1, 50)
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["architecture"] == "amplifier" and content["arrays"][1]["gated"]
    again = wavenet.load_model(tmp_path)
    assert isinstance(again, Amplifier) and again.config == model.config
    assert torch.equal(again(x), model(x))


def test_the_usual_network():
    model = Amplifier(AmplifierConfig())
    assert sum(p.numel() for p in model.parameters()) == 13801 + 8  # a bias of the first head
    assert model.receptive_field == 4093


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"arrays": ()}, "arrays is .*; accepted is 1 to 16 of LayersConfig"),
        ({"arrays": 3}, "arrays is 3; accepted"),
        ({"arrays": [{"chanels": 3}]}, "arrays has 'chanels'; accepted are channels, dil"),
        ({"sample_rate": 0}, "sample_rate is 0; accepted is more than 0"),
        ({"scale": np.inf}, "scale is inf; accepted is a number"),
        ({"architecture": "wavenet"}, "architecture is 'wavenet'; accepted is amplifier"),
        ({"arrays": [{"channels": 0}]}, "channels is 0; accepted is an int from 1"),
        ({"arrays": [{"channels": 1, "kernel_size": 1.5}]}, "kernel_size is 1.5; accepted"),
        (
            {"arrays": [{"channels": 1, "dilations": []}]},
            "dilations is .*; accepted is 1 to",
        ),
        ({"arrays": [{"channels": 1, "gated": 1}]}, "gated is 1; accepted is true or false"),
    ],
)
def test_configurations_that_make_no_network(fields, says):
    with pytest.raises(ValueError, match=says):
        AmplifierConfig(**fields)


@pytest.mark.parametrize(
    "waveform, says",
    [
        (np.zeros((1, 5)), "waveform is a ndarray; accepted is a tensor .B, T."),
        (torch.zeros(5), "waveform is .5,.; accepted is .B, T., T from 1"),
        (torch.zeros(1, 0), "T from 1"),
        (torch.zeros(1, 5, dtype=torch.int64), "waveform is torch.int64; accepted are floats"),
        (torch.full((1, 5), torch.nan), "aren't finite"),
    ],
)
def test_signals_that_are_none(waveform, says):
    with pytest.raises(DataError, match=says):
        small_amplifier()(waveform)
