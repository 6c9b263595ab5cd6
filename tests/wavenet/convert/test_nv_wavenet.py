"""nv-wavenet's files: whole pickled modules of a class that nobody has here, or their weights."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wavenet.convert import import_checkpoint, load_checkpoint
from wavenet.errors import ModelError

A, R, S, M, LAYERS, HOP, TAPS = 16, 4, 6, 3, 4, 8, 20


class Conv(nn.Module):
    """A layer of theirs; their module is saved whole."""

    def __init__(self, *sizes, bias=True, dilation=1):
        super().__init__()
        self.conv = nn.Conv1d(*sizes, bias=bias, dilation=dilation)


class TheirNetwork(nn.Module):
    """From the description of its layers; dilations 1, 2, ... to the largest, and again."""

    def __init__(self, max_dilation=2):
        super().__init__()
        self.max_dilation, self.n_layers = max_dilation, LAYERS
        each = max_dilation.bit_length()
        self.upsample = nn.ConvTranspose1d(M, M, TAPS, HOP)
        self.cond_layers = Conv(M, 2 * R * LAYERS, 1)
        self.dilate_layers = nn.ModuleList(
            Conv(R, 2 * R, 2, dilation=2 ** (i % each)) for i in range(LAYERS)
        )
        self.res_layers = nn.ModuleList(Conv(R, R, 1) for _ in range(LAYERS - 1))
        self.skip_layers = nn.ModuleList(Conv(R, S, 1) for _ in range(LAYERS))
        self.embed = nn.Embedding(A, R)
        self.conv_out = Conv(S, A, 1, bias=False)
        self.conv_end = Conv(A, A, 1, bias=False)

    def forward(self, mel, codes):
        """What it says of the sample after each code, (B, A, T)."""
        cond = self.cond_layers.conv(self.upsample(mel)[:, :, : codes.shape[1]])
        x, skips = self.embed(codes).transpose(1, 2), 0
        for i, layer in enumerate(self.dilate_layers):
            padded = F.pad(x, (layer.conv.dilation[0], 0))
            a = layer.conv(padded) + cond[:, 2 * R * i : 2 * R * (i + 1)]
            z = a[:, :R].tanh() * a[:, R:].sigmoid()
            if i < LAYERS - 1:
                x = self.res_layers[i].conv(z) + x
            skips = skips + self.skip_layers[i].conv(z)
        return self.conv_end.conv(self.conv_out.conv(skips.relu()).relu())


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return TheirNetwork().double()


def compare(model, theirs):
    mel = torch.randn(2, M, 5, dtype=torch.float64)
    codes = torch.randint(0, A, (2, 5 * HOP))
    before = F.pad(codes, (1, 0), value=A // 2)[:, :-1]
    assert torch.allclose(model(codes, mel), theirs(mel, before), rtol=0, atol=1e-12)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module(theirs, zipped, tmp_path, monkeypatch):
    """As its training saves it: of a module that is there no more when it is read."""
    module = types.ModuleType("wavenet_of_theirs")
    for cls in (Conv, TheirNetwork):
        monkeypatch.setattr(cls, "__module__", "nv_wavenet")
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "nv_wavenet", module)
    path = tmp_path / "wavenet_1000"
    saved = {"model": theirs, "iteration": 1000, "optimizer": {}}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "nv_wavenet")
    imported = import_checkpoint(path, mel=None)
    assert "nv-wavenet: 16 classes, 4 layers in 2 stacks, 16000 Hz" in imported.found
    assert imported.model.config.mel.hop == HOP and imported.model.config.upsample_taps == TAPS
    compare(imported.model, theirs)


def test_a_state_dictionary(theirs, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"state_dict": theirs.state_dict()}, path)
    compare(load_checkpoint(path, max_dilation=2, hop=HOP), theirs)
    for options, sentence in (
        ({}, "max_dilation is missing; accepted is that of its training"),
        ({"stacks": 2}, "stacks is no option of nv-wavenet"),
    ):
        with pytest.raises(ModelError, match=f"{path}: {sentence}"):
            load_checkpoint(path, **options)
    weights = theirs.state_dict()
    del weights["res_layers.1.conv.bias"]
    torch.save(weights, path)
    with pytest.raises(ModelError, match="has no res_layers.1.conv.bias"):
        load_checkpoint(path, max_dilation=2, hop=HOP)


@pytest.mark.parametrize(
    ("largest", "dilations"), [(4, (1, 2, 4, 1)), (64, (1, 2, 4, 8)), (1, (1, 1, 1, 1))]
)
def test_the_last_stack_may_end_early(largest, dilations, tmp_path):
    torch.manual_seed(0)
    theirs = TheirNetwork(largest).double()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "x.pt")
    model = load_checkpoint(tmp_path / "x.pt", max_dilation=largest, hop=HOP)
    assert model.config.dilations == dilations
    compare(model, theirs)
