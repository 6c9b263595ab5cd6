"""The classifier: causality, lengths, inputs, second loss, saving and loading."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from small_runs import MODEL

from wavenet import WaveNetClassifier, WaveNetConfig, load_model
from wavenet.audio import mu_law_encode
from wavenet.errors import ModelError
from wavenet.networks import Architecture
from wavenet.networks.clip_norm import normalize_frames
from wavenet.networks.frames import FrameSums
from wavenet.networks.stem import OneHotStem


def _batch():
    torch.manual_seed(0)
    lengths = torch.tensor([1003, 500, 37, 1])
    waveform = 0.3 * torch.randn(4, 1003)
    for row, length in zip(waveform, lengths, strict=True):
        row[length:] = 0
    return waveform, lengths


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize(
    "fields",
    [
        {"clip_norm": True},
        {"input": "mu-law"},
        {"input": "one-hot"},
        {"filters": 6},
        {"filters": 7, "filter_layers": 2},
        {"filters": 7, "filter_layers": 2, "filter_norm": "batch"},
        {"filters": 7, "filter_layers": 2, "filter_blocks": 1, "filter_channels": 5},
        {"filters": 7, "stack_norm": "batch"},
        {"filters": 6, "input": "mu-law", "clip_norm": True},
    ],
)
def test_logits_do_not_depend_on_padding(fields, pooling):
    config = WaveNetConfig(**MODEL, **fields, pooling=pooling)
    model = WaveNetClassifier(config).eval()
    waveform, lengths = _batch()
    logits = model(waveform, lengths)
    assert logits.shape == (4, 3)
    for i, length in enumerate(lengths):
        torch.testing.assert_close(model(waveform[i : i + 1, :length])[0], logits[i])
    longer = F.pad(waveform, (0, 777))
    torch.testing.assert_close(model(longer, lengths), logits)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": "one-hot"},
        {"filters": 6},
        {"filters": 6, "filter_layers": 2, "filter_norm": "batch"},
    ],
)
def test_no_clips_are_a_batch_too(fields):
    model = WaveNetClassifier(WaveNetConfig(**MODEL, **fields))
    logits = model(torch.zeros(0, 500), torch.zeros(0).long())
    assert logits.shape == (0, 3)
    logits.sum().backward()
    for name, value in WaveNetClassifier(model.config).state_dict().items():
        assert "running" not in name or torch.equal(model.state_dict()[name], value)


def test_normalised_clips_have_no_level_and_no_offset():
    model = WaveNetClassifier(WaveNetConfig(**MODEL, clip_norm=True)).eval()
    waveform, lengths = _batch()
    torch.testing.assert_close(model(0.02 * waveform + 0.1, lengths), model(waveform, lengths))
    assert model(torch.zeros(1, 500)).isfinite().all()


def test_frames_are_normalised_over_the_clip():
    frames, lengths = torch.rand(3, 4, 9) + 1, torch.tensor([9, 5, 1])
    normal = normalize_frames(frames, lengths)
    for clip, length in zip(normal, lengths, strict=True):
        assert not clip[:, length:].any()
        torch.testing.assert_close(clip.sum(1), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(normal[0].var(1, correction=0), torch.ones(4), rtol=0, atol=0.01)


def test_receptive_field_is_what_an_output_sees():
    model = WaveNetClassifier(WaveNetConfig(**MODEL)).double()
    waveform = torch.randn(1, 4001, dtype=torch.float64, requires_grad=True)
    _, skip = model._classify(*model._prepare_input(waveform, None))
    (grad,) = torch.autograd.grad(skip[0, :, -1].square().sum(), [waveform])
    seen = grad[0].nonzero().flatten()
    assert int(seen[-1]) == 4000
    assert 4001 - int(seen[0]) == model.receptive_field == 128
    assert model.receptive_field_ms == 16.0


@pytest.mark.parametrize("steps", [3, 8, 11])
def test_frames_are_means_of_what_is_above_zero(steps):
    torch.manual_seed(0)
    rows = torch.randn(2, steps, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, -(-steps // 4), 4, 1, dtype=torch.float64)
    padded = F.pad(rows, (0, 0, 0, -steps % 4)).unflatten(1, (-1, 4))
    expected = (torch.relu(padded) * weights).sum(2)
    sums = FrameSums.apply(rows, weights)
    torch.testing.assert_close(sums, expected)
    gradient = torch.randn_like(sums)
    torch.testing.assert_close(
        torch.autograd.grad(sums, rows, gradient), torch.autograd.grad(expected, rows, gradient)
    )


def test_one_hot_stem_is_a_convolution_over_one_hot_vectors():
    stem = OneHotStem(WaveNetConfig(**MODEL, input="one-hot"))
    waveform = torch.rand(2, 30) * 2 - 1
    codes = mu_law_encode(F.pad(waveform, (7, 0)))
    weight = stem.weight.view(8, 256, -1).permute(2, 1, 0)
    expected = F.conv1d(F.one_hot(codes, 256).float().mT, weight, stem.bias, stride=4)
    torch.testing.assert_close(stem(waveform), expected)


def test_next_sample_targets():
    model = WaveNetClassifier(WaveNetConfig(**MODEL, next_sample_weight=0.5))
    waveform, lengths = _batch()
    logits, following = model.forward_with_next_sample(waveform, lengths)
    assert torch.equal(logits, model(waveform, lengths))
    # Step j has seen samples up to 4 j; what follows is sample 4 j + 1, if the clip has it.
    assert following.logits.shape == (4, 256, 251)
    assert torch.equal(following.targets[0], mu_law_encode(waveform[0, 1::4]))
    assert (following.targets >= 0).sum(1).tolist() == [251, 125, 9, 0]


def test_next_sample_prediction_is_causal():
    """What is predicted for a step doesn't change when the sample to predict does."""
    model = WaveNetClassifier(WaveNetConfig(**MODEL, next_sample_weight=0.5)).eval()
    waveform, _ = _batch()
    _, before = model.forward_with_next_sample(waveform)
    changed = waveform.clone()
    changed[:, 401:] = 0.9
    _, after = model.forward_with_next_sample(changed)
    assert torch.equal(before.logits[:, :, :101], after.logits[:, :, :101])
    assert not torch.equal(before.logits[:, :, 101], after.logits[:, :, 101])


def test_clips_of_one_sample_have_no_next():
    from wavenet.classifier.data import Batch
    from wavenet.classifier.training.learner import ClassificationLoss

    model = WaveNetClassifier(WaveNetConfig(**MODEL, next_sample_weight=0.5))
    batch = Batch(torch.zeros(2, 1), torch.ones(2).long(), torch.tensor([0, 1]))
    loss, _ = ClassificationLoss(model)(batch)
    assert loss.isfinite().all()


def test_without_second_head_it_is_refused():
    with pytest.raises(ValueError, match="next_sample_weight is 0"):
        WaveNetClassifier(WaveNetConfig(**MODEL)).forward_with_next_sample(torch.randn(1, 50))


@pytest.mark.parametrize("shape", [(100,), (1, 1, 100), (1, 0)])
def test_waveform_shape(shape):
    with pytest.raises(ValueError, match=r"waveform has shape .*; accepted is \(B, T\)"):
        WaveNetClassifier(WaveNetConfig(**MODEL))(torch.zeros(shape))


def test_lengths_shape():
    with pytest.raises(ValueError, match=r"lengths has shape \(3,\); accepted is \(2,\)"):
        WaveNetClassifier(WaveNetConfig(**MODEL))(torch.zeros(2, 50), torch.ones(3).long())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", ("one",)),
        ("labels", ("twice", "twice")),
        ("input", "mel"),
        ("clip_norm", 1),
        ("sample_rate", 10**12),
        ("pooling", "sum"),
        ("stem_kernel_size", 3),
        ("filters", -1),
        ("filters", True),
        ("filter_layers", -1),
        ("filter_layers", 1),
        ("filter_channels", 0),
        ("filter_blocks", -1),
        ("filter_blocks", 1),  # of no layers
        ("filter_blocks", 65),
        ("filter_norm", "batch"),  # of no layers
        ("filter_norm", "layer"),
        ("stack_norm", "batch"),  # of no filters
        ("stack_norm", "layer"),
        ("filter_norm", True),
        ("filter_dropout", 0.1),
        ("filter_dropout", 1.0),
        ("stacks", 0),
        ("head_kernel_size", 4),
        ("head_layers", -1),
        ("dropout", 1.0),
        ("frame_ms", 0.0),
        ("next_sample_weight", -1.0),
    ],
)
def test_config_names_the_field(field, value):
    with pytest.raises(ValueError, match=f"{field} is .*accepted"):
        WaveNetConfig(**{**MODEL, field: value})


def test_filters_hear_no_codes():
    with pytest.raises(ValueError, match="filters is 4; accepted is 0 with input one-hot"):
        WaveNetConfig(**MODEL, filters=4, input="one-hot")


@pytest.mark.parametrize("filters", [0, 5])
def test_save_and_load(tmp_path, filters):
    fields = {**MODEL, "dropout": 0.2, "pooling": "attention", "filters": filters}
    model = WaveNetClassifier(WaveNetConfig(**fields)).eval()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["labels"] == ["cat", "dog", "rain"]
    waveform, lengths = _batch()
    for loaded in (WaveNetClassifier.from_pretrained(tmp_path).eval(), load_model(tmp_path)):
        assert loaded.config == model.config
        assert torch.equal(loaded(waveform, lengths), model(waveform, lengths))


def test_an_architecture_has_no_labels(tmp_path):
    """It makes what does not depend on them; a configuration is one with labels."""
    config = WaveNetConfig(**MODEL)
    fields = {name: value for name, value in MODEL.items() if name != "labels"}
    assert config.architecture == Architecture(**fields)
    assert not hasattr(config.architecture, "labels")
    assert WaveNetConfig(labels=MODEL["labels"], **vars(config.architecture)) == config
    assert OneHotStem(config.architecture)(torch.zeros(1, 8)).shape == (1, 8, 2)


def test_a_configuration_written_before_labels_were_apart_is_read(tmp_path):
    """Their order in the file was another one."""
    model = WaveNetClassifier(WaveNetConfig(**MODEL)).eval()
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    of_labels = {"labels", "tags", "events", "thresholds", "background"}
    assert set(content) == {*of_labels, *vars(Architecture())}
    old = {"labels": content.pop("labels"), **content}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert load_model(tmp_path).config == model.config


def test_loading_says_what_is_wrong(tmp_path):
    with pytest.raises(ModelError, match="there is no such folder"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_model(tmp_path)
    WaveNetClassifier(WaveNetConfig(**MODEL)).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(tmp_path)
    other = WaveNetClassifier(WaveNetConfig(**{**MODEL, "skip_channels": 20}))
    other.save_pretrained(tmp_path / "other")
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="(?s)can't be loaded.*size mismatch"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"labels": ["a", "b"], "wings": 2}')
    with pytest.raises(ModelError, match=r"fields that this version does not know: \['wings'\]"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="holds a list; accepted are fields"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="device 'banana' can't be used here"):
        load_model(tmp_path, device="banana")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="config.json: is damaged"):
        load_model(tmp_path)


@pytest.mark.slow
def test_compiles():
    model = WaveNetClassifier(WaveNetConfig(**MODEL)).eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    waveform, lengths = _batch()
    torch.testing.assert_close(compiled(waveform, lengths), model(waveform, lengths))
