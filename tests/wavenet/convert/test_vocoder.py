"""wavenet_vocoder's files of every layout give its network, and ours go back into its files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import their_vocoder as theirs
import torch
import torch.nn.functional as F
from small_generators import small_generator, waveform_of

from wavenet.convert import import_checkpoint, load_checkpoint, to_vocoder
from wavenet.errors import ModelError

FRAMES, T = 6, 96
UP = {"upsample_scales": [4, 4]}
LAYOUTS = {
    "newest": (False, {}),
    "newest, no mel": (False, {"cin_channels": -1}),
    "newest, codes": (
        False,
        {"input_type": "mulaw-quantize", "quantize_channels": 16, "out_channels": 16},
    ),
    "newest, Gaussian": (False, {"output_distribution": "Normal", "out_channels": 2}),
    "newest, Gaussian of three": (False, {"output_distribution": "Normal", "out_channels": 3}),
    "newest, speaker vectors": (False, {"gin_channels": theirs.G}),
    "newest, embedded speakers": (
        False,
        {"gin_channels": theirs.G, "n_speakers": 3, "use_speaker_embedding": True},
    ),
    "newest, without conv_in": (False, {"upsample_net": "UpsampleNetwork"}),
    "newest, smoothed over channels": (
        False,
        {"upsample_params": {**UP, "freq_axis_kernel_size": 3}},
    ),
    "newest, activation": (
        False,
        {
            "upsample_params": {
                **UP,
                "upsample_activation": "LeakyReLU",
                "upsample_activation_params": {"negative_slope": 0.4},
            }
        },
    ),
    "newest, repeated": (False, {"upsample_conditional_features": False, "cin_pad": 0}),
    "v0.1.1": (True, {}),
    "v0.1.1, plain skips": (True, {"legacy": False}),
    "v0.1.1, speakers": (
        True,
        {"gin_channels": theirs.G, "n_speakers": 3, "use_speaker_embedding": True},
    ),
    "v0.1.1, codes": (
        True,
        {"input_type": "mulaw-quantize", "quantize_channels": 16, "out_channels": 16},
    ),
}
EVERY = pytest.mark.parametrize("layout", LAYOUTS)


def save(folder, weights, hp, name="checkpoint_step000000010.pth", **options):
    optimizer = {"param_groups": [{"lr": np.float64(1e-3)}], "state": {}}
    saved = {"state_dict": weights, "optimizer": optimizer, "global_step": 10, "global_epoch": 1}
    torch.save(saved, folder / name, **options)
    if hp is not None:
        (folder / "hparams.json").write_text(json.dumps(hp))
    return folder / name


def compare(model, weights, hp, first):
    """Our parameters of sample t, and theirs of the same samples one later: what ours hears."""
    torch.manual_seed(0)
    c = g = speaker = None
    if hp["cin_channels"] > 0:
        pad = 0 if first else hp["cin_pad"]
        c = torch.randn(2, theirs.M, FRAMES + 2 * pad, dtype=torch.float64)
    if hp["gin_channels"] > 0:
        if "embed_speakers.weight" in weights:
            g = torch.tensor([[2], [0]])
            speaker = g
        else:
            speaker = torch.randn(2, theirs.G, dtype=torch.float64)
            g = speaker[:, :, None]
    if hp["input_type"] == "mulaw-quantize":
        waveform = torch.randint(0, 16, (2, T))
        before = 8 if first else 7
        heard = F.pad(waveform, (1, 0), value=before)[:, :-1]
        x = F.one_hot(heard, 16).double().transpose(1, 2)
    else:
        waveform = waveform_of(2, T).double()
        x = F.pad(waveform, (1, 0))[:, None, :-1]
    expected = theirs.forward(weights, hp, x, c, g, first)
    if hp.get("output_distribution") == "Normal" and hp["out_channels"] == 3:
        expected = expected[:, 1:]
    return model(waveform, c, speaker), expected


@EVERY
def test_every_layout(layout, tmp_path):
    first, changed = LAYOUTS[layout]
    hp = theirs.hparams(first, **changed)
    weights = theirs.weights_of(hp, first)
    imported = import_checkpoint(save(tmp_path, weights, hp))
    ours, expected = compare(imported.model, weights, hp, first)
    assert ours.dtype == torch.float64
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
    assert ("v0.1.1" if first else "newest") in imported.found
    assert "4 layers in 2 stacks, 8000 Hz" in imported.found


@pytest.mark.parametrize("norm", ["old", "new", "none"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("first", [False, True])
def test_every_way_to_write_it(norm, zipped, first, tmp_path):
    hp = theirs.hparams(first)
    weights = theirs.weights_of(hp, first)
    written = {f"module.{k}": v for k, v in theirs.with_weight_norm(weights, norm).items()}
    path = save(tmp_path, written, hp, "x_ema.pth", _use_new_zipfile_serialization=zipped)
    imported = import_checkpoint(path)
    ours, expected = compare(imported.model, weights, hp, first)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
    assert f"averaged weights, step 10, weight norm {norm}" in imported.found


def test_hparams_as_dictionary_file_and_options(tmp_path):
    hp = theirs.hparams()
    weights = {k: v.float() for k, v in theirs.weights_of(hp).items()}
    path = save(tmp_path, weights, None)
    (tmp_path / "other.json").write_text(json.dumps({**hp, "stacks": 1}))
    model = load_checkpoint(path, hp)
    assert model.config.dilations == (1, 2, 1, 2) and model.stem.weight.dtype == torch.float32
    assert load_checkpoint(path, tmp_path / "other.json").config.dilations == (1, 2, 4, 8)
    changed = load_checkpoint(path, hp, stacks=4, edges="exact", dtype=torch.float64)
    assert changed.config.stacks == 4 and changed.stem.weight.dtype == torch.float64
    assert (model.config.edges, changed.config.edges) == ("pixelcnn", "exact")


def test_what_the_hparams_say_is_in_the_configuration(tmp_path):
    said = {"preprocess": "preemphasis", "global_gain_scale": 0.55, "highpass_cutoff": 70.0}
    hp = theirs.hparams(**said)
    config = load_checkpoint(save(tmp_path, theirs.weights_of(hp), hp)).config
    assert (config.pre_emphasis, config.gain, config.high_pass_hz) == (0.85, 0.55, 70.0)
    assert (config.classes, config.mixtures, config.log_scale_min) == (65536, 2, -16.0)
    assert (config.mel.hop, config.mel.n_fft, config.mel.low_hz) == (16, 64, 125.0)
    assert config.sampling_scale_floor is None and config.context_frames == 2
    old = theirs.hparams(first=True)
    config = load_checkpoint(save(tmp_path, theirs.weights_of(old, True), old)).config
    assert config.sampling_scale_floor == config.log_scale_min == math.log(1e-14)
    assert (config.mel.padding, config.mel.compression) == ("lws", "db")


def test_what_was_assumed_is_said(tmp_path):
    hp = theirs.hparams()
    path = save(tmp_path, theirs.weights_of(hp), {**hp, "fmax": 7600, "sample_rate": None})
    assumed = import_checkpoint(path, sample_rate=8000).assumed
    assert any("fmax 4000, half the rate" in a for a in assumed)
    assert any("mels that come normalised as in its training" in a for a in assumed)
    known = import_checkpoint(path, sample_rate=8000, fmax=3800, mean=[0.0] * 3, std=[1.0] * 3)
    assert known.assumed == () and known.model.config.mel.std == (1.0, 1.0, 1.0)


def test_what_does_not_fit_is_said(tmp_path):
    hp = theirs.hparams()
    weights = theirs.weights_of(hp)
    path = save(tmp_path, weights, None)
    missing = {k: v for k, v in weights.items() if k != "conv_layers.2.conv.bias"}
    for change, sentence in (
        ({}, "stacks is missing; accepted is a divisor of its 4 layers: no tensor tells"),
        ({"stacks": 3}, "stacks is 3; accepted is a divisor of its 4 layers"),
        ({**hp, "input_type": "mulaw-quantize"}, "input_type is 'mulaw-quantize', but its first"),
        ({**hp, "output_distribution": "Cauchy"}, "output_distribution is 'Cauchy' with 6 outputs"),
        (
            {**hp, "upsample_params": {"mode": "bilinear"}},
            "upsamples with mode 'bilinear'",
        ),
    ):
        with pytest.raises(ModelError, match=f"{path}: .*{sentence}"):
            load_checkpoint(path, change)
    with pytest.raises(ModelError, match="has no conv_layers.2.conv.bias"):
        load_checkpoint(save(tmp_path, missing, hp))
    with pytest.raises(ModelError, match="weights of no known use: surplus.weight"):
        load_checkpoint(save(tmp_path, {**weights, "surplus.weight": torch.zeros(1)}, hp))
    with pytest.raises(ModelError, match="is no checkpoint that is known: it begins with other"):
        load_checkpoint(save(tmp_path, {"other": torch.zeros(1)}, hp))


@EVERY
def test_back_into_their_file(layout, tmp_path):
    first, changed = LAYOUTS[layout]
    hp = theirs.hparams(first, **changed)
    model = load_checkpoint(save(tmp_path, theirs.weights_of(hp, first), hp))
    if first:
        with pytest.raises(ModelError, match="the model has .*, which wavenet_vocoder's files"):
            to_vocoder(model, tmp_path / "out.pth")
        return
    to_vocoder(model, tmp_path / "out.pth")
    written = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    assert {k for k in theirs.with_weight_norm(theirs.weights_of(hp), "old")} == set(written)
    again = load_checkpoint(tmp_path / "out.pth")
    ours, expected = compare(again, theirs.weights_of(hp), hp, False)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
    assert (again.config.mel is None) == (model.config.mel is None)


def test_a_model_of_ours_goes_into_their_file(tmp_path):
    """Whatever its skips are scaled by."""
    model = small_generator("logistic", residual_scale=0.5**0.5, stem_kernel_size=1).double()
    to_vocoder(model, tmp_path / "out.pth")
    again, waveform = load_checkpoint(tmp_path / "out.pth"), waveform_of(1).double()
    assert torch.allclose(again(waveform), model(waveform), rtol=0, atol=1e-12)


def test_a_loaded_model_makes_sound(tmp_path):
    hp = theirs.hparams()
    model = load_checkpoint(save(tmp_path, theirs.weights_of(hp), hp), dtype=torch.float32)
    mel = torch.randn(1, theirs.M, 3)
    made = model.generate(mel, seed=1, return_parameters=True)
    assert torch.allclose(model(made.audio, mel), made.parameters, atol=1e-5)


@pytest.mark.parametrize("named", ["legacy", "weight_normalization", "upsample_scales", None])
def test_without_conditioning_the_hparams_tell_the_generation(named, tmp_path):
    """No tensor does; what is called as the first generation's is."""
    first = named is not None
    hp = theirs.hparams(first, cin_channels=-1)
    for name in ("legacy", "upsample_scales", "freq_axis_kernel_size"):
        hp.pop(name, None)
    if first:
        hp[named] = {"upsample_scales": [4, 4]}.get(named, True)
    weights = theirs.weights_of(hp, first)
    imported = import_checkpoint(save(tmp_path, weights, hp))
    ours, expected = compare(imported.model, weights, hp, first)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


def test_an_option_makes_no_first_generation_of_the_newest(tmp_path):
    hp = theirs.hparams()
    weights = theirs.weights_of(hp)
    model = load_checkpoint(save(tmp_path, weights, hp), legacy=False)
    ours, expected = compare(model, weights, hp, False)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


def test_hparams_of_another_kind_are_said(tmp_path):
    hp = theirs.hparams()
    path = save(tmp_path, theirs.weights_of(hp), None)
    inside = {"upsample_scales": [4, 4]}
    for change, sentence in (
        ({"sample_rate": "8 kHz"}, "sample_rate is '8 kHz'; accepted is a whole number"),
        ({"fft_size": math.inf}, "fft_size is inf; accepted is a whole number"),
        ({"fmin": []}, r"fmin is \[\]; accepted is a number"),
        ({"log_scale_min": "low"}, "log_scale_min is 'low'; accepted is a number"),
        ({"output_distribution": 3}, "output_distribution is 3; accepted is a string"),
        ({"fmin": 9000}, "its hparams can't be used: low_hz is 9000.0; accepted is from 0, below"),
        ({"sample_rate": -1}, "its hparams can't be used: sample_rate is -1; accepted is an int"),
        ({"upsample_params": "4,4"}, "upsample_params is '4,4'; accepted is fields"),
        (
            {"upsample_params": {**inside, "upsample_activation": ["ReLU"]}},
            r"upsample_activation is \['ReLU'\]; accepted is a string",
        ),
    ):
        with pytest.raises(ModelError, match=f"{path}: {sentence}"):
            load_checkpoint(path, {**hp, **change})
    rate = np.int32(hp["sample_rate"])
    assert load_checkpoint(path, {**hp, "sample_rate": rate}).config.sample_rate == rate
    with pytest.raises(ModelError, match="hparams is a list; accepted is a dictionary or a JSON"):
        load_checkpoint(path, [hp])
    with pytest.raises(ModelError, match="dtype is 'half'; accepted is None or one of"):
        load_checkpoint(path, hp, dtype="half")


def test_weights_that_do_not_fit_are_said_in_a_sentence(tmp_path):
    hp = theirs.hparams(True)
    weights = theirs.with_weight_norm(theirs.weights_of(hp, True), "old")
    for name, value, sentence in (
        ("conv_layers.1.conv1x1c.bias", None, "has no conv_layers.1.conv1x1c.bias"),
        ("first_conv.bias", torch.full((theirs.R,), math.nan), "has weights that aren't finite"),
        ("first_conv.weight_g", torch.zeros(()), "first_conv.weight_g has shape"),
        ("conv_layers.1.conv.weight_v", torch.zeros(8), "conv_layers.1.conv.weight_g has shape"),
        ("conv_layers.2.conv.bias", torch.zeros(()), "its weights don't fit one another: "),
        ("last_conv_layers.3.bias", torch.zeros(3), "would be .3,., the others ask for .6,."),
    ):
        changed = {**weights, name: value} if value is not None else dict(weights)
        if value is None:
            del changed[name]
        path = save(tmp_path, changed, hp)
        with pytest.raises(ModelError, match=sentence) as raised:
            load_checkpoint(path)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_rows_of_zeros_go_there_and_back(tmp_path):
    """Weight norm has a direction for each row; a row of zeros has none of its own."""
    model = small_generator("logistic", residual_scale=0.5**0.5, stem_kernel_size=1).double()
    with torch.no_grad():
        model.output.weight[0] = 0.0
    to_vocoder(model, tmp_path / "out.pth")
    again = load_checkpoint(tmp_path / "out.pth")
    assert torch.equal(again.output.weight[0], model.output.weight[0])


def test_stacks_of_unequal_depth_are_not_theirs(tmp_path):
    fields = {"residual_scale": 0.5**0.5, "stem_kernel_size": 1, "layers": 5}
    with pytest.raises(ModelError, match="the model has layers 5 in stacks of unequal depth"):
        to_vocoder(small_generator("logistic", **fields), tmp_path / "out.pth")
