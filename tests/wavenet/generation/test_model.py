"""The generative WaveNet: what each position sees, likelihoods, saving, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_generators import (
    CASES,
    MEL,
    SIZES,
    double,
    inputs_of,
    small_generator,
    waveform_of,
)

from wavenet import GeneratorConfig, WaveNet
from wavenet.data.mel import MelConfig
from wavenet.errors import DataError
from wavenet.generation.conditioning import _smoothed
from wavenet.generation.samples import decode, encode, first_value
from wavenet_kernels import reference

EVERY = pytest.mark.parametrize("case", CASES)


@EVERY
def test_a_position_depends_on_earlier_samples_alone_and_on_as_many_as_is_said(case):
    model = small_generator(case).double()
    field = model.receptive_field
    waveform, at = waveform_of(1).double(), 40
    given = double(inputs_of(model, 1))
    said = model(waveform, **given)
    assert said.shape == (1, model.distribution.channels, 96)
    waveform[0, at] = -waveform[0, at]
    changed = ((model(waveform, **given) - said).abs() > 0).any(1)[0].nonzero().flatten()
    assert changed[0] == at + 1 and changed[-1] == min(95, at + field)


@EVERY
def test_it_is_the_reference_of_its_parts(case):
    """One sample at a time in plain PyTorch: input, stack, head."""
    model = small_generator(case).double()
    given = double(inputs_of(model, 2))
    waveform = waveform_of(2).double()
    network, conditioning = model.sample_network(torch.float64), model.conditioning
    mel = conditioning.prepare_mel(given.get("mel"), 2, 96)
    ids = conditioning.prepare_speaker(given.get("speaker"), 2, waveform.device)
    cond = conditioning(mel, ids)
    values = encode(waveform, model.config) if network.codes else waveform
    if model.config.companding == "mu-law" and not network.codes:
        mu = model.config.mu
        values = values.sign() * (mu * values.abs()).log1p() / math.log1p(mu)
    first = values.new_full((2, network.taps), first_value(model.config))
    past = torch.cat([first, values], dim=1)
    embedded = torch.stack([network.embed(past[:, t : t + network.taps]) for t in range(96)], dim=2)
    weights = (network.conv_weight, network.conv_bias, network.out_weight, network.out_bias)
    _, skip = reference.residual_stack(
        embedded,
        *weights,
        cond,
        dilations=network.dilations,
        residual_scale=network.residual_scale,
        last_residual=False,
    )
    expected = network.head(skip.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(model(waveform, **given), expected, rtol=0, atol=1e-12)


@EVERY
def test_the_loss_is_the_mean_of_what_counts_and_everything_learns(case):
    model = small_generator(case)
    given, waveform = inputs_of(model, 3), waveform_of(3)
    lengths = torch.tensor([96, 5, 0])
    loss = model.loss(waveform, **given, lengths=lengths)
    target = waveform
    if model.config.distribution == "softmax":
        target = encode(waveform, model.config)
        assert torch.equal(model.loss(target, **given, lengths=lengths), loss)
    elif model.config.companding == "mu-law":
        target = waveform.sign() * (255 * waveform.abs()).log1p() / math.log(256)
    each = model.distribution.nll(model(waveform, **given), target)
    assert loss.item() == pytest.approx((each[0].sum() + each[1, :5].sum()).item() / 101, rel=1e-5)
    bits = model.bits_per_sample(waveform, **given, lengths=lengths)
    extra = 15.0 if model.config.distribution == "gaussian" else 0.0
    assert bits[1].item() == pytest.approx(
        each[1, :5].mean().item() / math.log(2) + extra, rel=1e-5
    )
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("case", ["logistic", "mel repeated"])
def test_logistics_begin_as_wide_as_sound(case):
    torch.manual_seed(0)
    model = WaveNet(GeneratorConfig(**{**SIZES, **CASES[case]}))
    speech, given = 0.05 * torch.randn(2, 96), inputs_of(model, 2)
    first = model.loss(speech, **given).item()
    with torch.no_grad():
        model.output.bias[-model.config.mixtures :] += 2.0  # full scale
        assert first < model.loss(speech, **given).item() - 1.0


def test_the_gain_is_taken_out_of_a_densitys_bits():
    """A signal of half the size, and a network that works on twice of it, say the same."""
    model, with_gain = small_generator("gaussian"), small_generator("gaussian", gain=0.5)
    bits, more = (m.bits_per_sample(waveform_of(1)) for m in (model, with_gain))
    assert more.item() == pytest.approx(bits.item() + 1.0)
    assert "16-bit" in model.bits_counted and "code of 256" in small_generator("codes").bits_counted


@pytest.mark.parametrize("case", ["codes", "logistic", "gaussian", "mel interpolated"])
def test_under_bfloat16_losses_are_float32(case):
    model = small_generator(case)
    given, waveform = inputs_of(model, 1), waveform_of(1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(waveform, **given)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(model.loss(waveform, **given).item(), rel=0.05)
    loss.backward()


@pytest.mark.parametrize("case", ["mel interpolated", "mel repeated"])
def test_conditioning_before_upsampling_changes_nothing(case):
    model = small_generator(case).double()
    conditioning = model.conditioning
    mel = conditioning.prepare_mel(double(inputs_of(model, 2))["mel"], 2, 96)
    found = conditioning.local_of(mel)
    frames = mel if conditioning.frames is None else conditioning.frames(mel)
    before = conditioning.upsample(conditioning.local(frames))
    after = conditioning.local(conditioning.upsample(frames))
    assert model.config.conditioned_before_upsampling
    assert torch.allclose(found, after, rtol=0, atol=1e-14)
    assert torch.allclose(before, after, rtol=0, atol=1e-14)


def test_context_frames_are_copies_of_the_ends_unless_given():
    model = small_generator("mel interpolated")
    given, waveform = inputs_of(model, 2), waveform_of(2)
    mel = given.pop("mel")
    padded = torch.cat([mel[:, :, :1]] * 2 + [mel] + [mel[:, :, -1:]] * 2, dim=2)
    assert torch.equal(model(waveform, mel, **given), model(waveform, padded, **given))


def test_speakers_by_name_id_and_one_for_all():
    model, waveform = small_generator("speakers"), waveform_of(2)
    by_name = model(waveform, speaker=["jackson", "george"])
    for same in ([1, 0], torch.tensor([1, 0]), torch.tensor([[1], [0]])):
        assert torch.equal(model(waveform, speaker=same), by_name)
    both = model(waveform, speaker="jackson")
    assert torch.equal(both[0], by_name[0]) and not torch.allclose(both[1], by_name[1])


@EVERY
def test_saved_and_loaded_it_is_the_same(case, tmp_path):
    model = small_generator(case)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == "wavenet"
    loaded = WaveNet.from_pretrained(tmp_path)
    assert loaded.config == model.config
    given, waveform = inputs_of(model, 1), waveform_of(1)
    assert torch.equal(loaded(waveform, **given), model(waveform, **given))


def test_codes():
    rounded = small_generator("codes").config
    truncated = small_generator("codes truncated").config
    of_256 = GeneratorConfig(mu_law="truncated", mu=256)
    assert [first_value(c) for c in (rounded, truncated, of_256)] == [128, 127, 128]
    x = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    y = x.sign() * (255 * x.abs()).log1p() / math.log(256)
    assert torch.equal(encode(x, rounded), ((y + 1) * 127.5 + 0.5).floor().long())
    # Up to what float32 has as a code's own value.
    formula = ((y + 1) * 127.5).trunc().long()
    assert (encode(x, truncated) != formula).sum() <= 1
    for config in (rounded, truncated, of_256, small_generator("codes as scalars").config):
        codes = torch.arange(config.classes)
        assert torch.equal(encode(decode(codes, config), config), codes)


REFUSED = [
    ("codes", {"waveform": torch.zeros(5)}, r"waveform has shape \(5,\); accepted is \(B, T\)"),
    ("codes", {"waveform": torch.full((1, 4), 256)}, "codes 256 to 256; accepted are 0 to 255"),
    (
        "logistic",
        {"waveform": torch.zeros(1, 4).long()},
        "waveform is torch.int64; accepted are fl",
    ),
    ("logistic", {"waveform": torch.full((1, 4), math.nan)}, "waveform holds values that aren't"),
    ("codes", {"mel": torch.zeros(1, 5, 6)}, "mel is given; this model has no local"),
    ("codes", {"speaker": "george"}, "speaker is given; this model has no speakers"),
    ("mel repeated", {}, r"mel is missing; .* \(B, 5, F\)"),
    ("mel repeated", {"mel": torch.zeros(1, 4, 6)}, r"shape \(1, 4, 6\); accepted is \(1, 5, 6\)"),
    ("mel repeated", {"mel": torch.zeros(1, 5, 7)}, r"shape \(1, 5, 7\); accepted is \(1, 5, 6\)"),
    ("mel repeated", {"mel": torch.full((1, 5, 6), math.inf)}, "mel holds values that aren't"),
    (
        "mel repeated",
        {"waveform": torch.zeros(1, 95), "mel": torch.zeros(1, 5, 6)},
        "waveform has 95 samples; accepted with mel is a multiple of the hop, 16",
    ),
    ("mel interpolated", {"mel": torch.zeros(1, 5, 9), "speaker": 0}, "6.*, or 10 frames with"),
    ("speakers", {}, "speaker is missing; accepted are george, jackson, or 0 to 1"),
    ("speakers", {"speaker": "nobody"}, "speaker is 'nobody'; accepted are george, jackson"),
    ("speakers", {"speaker": 2}, "speaker is 2; accepted are"),
    ("speakers", {"speaker": [0, 1]}, "speaker names 2; accepted is one, or one for each of 1"),
    ("speaker vectors", {"speaker": 1}, r"speaker is 1; accepted is a tensor \(1, 3\)"),
]


@pytest.mark.parametrize(("case", "given", "sentence"), REFUSED)
def test_what_is_refused(case, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        small_generator(case)(**{"waveform": torch.zeros(1, 96), **given})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"distribution": "cauchy"}, "distribution is 'cauchy'; accepted is one of"),
        ({"distribution": "logistic", "input": "codes"}, "input is 'codes'; .* only a softmax"),
        ({"mel": MEL, "sample_rate": 16000}, "sample_rate is 16000; accepted is 8000 Hz"),
        ({"mel": MEL, "upsample_scales": (4, 5)}, r"\(4, 5\); .* product is the hop, 16"),
        ({"mel": MEL, "upsample": "none"}, "upsample is 'none'; accepted is one of"),
        ({"upsample": "repeat"}, "upsample is 'repeat'; accepted is none without mel"),
        ({"speakers": ("a", "a")}, "speakers is .*; accepted is names that are all different"),
        ({"skip_scale": 2}, "skip_scale is 2; accepted is one of"),
        ({"pre_emphasis": 1.0}, "pre_emphasis is 1.0; accepted is from 0, below 1"),
        ({"classes": 1}, "classes is 1; accepted is an int from 2"),
        ({"pre_emphasis": "a"}, "pre_emphasis is 'a'; accepted is from 0, below 1"),
        ({"gain": None}, "gain is None; accepted is more than 0"),
        ({"high_pass_hz": 4000}, "high_pass_hz is 4000; accepted is from 0, below 4000 Hz"),
        ({"residual_scale": math.nan}, "residual_scale is nan; accepted is a number"),
        ({"log_scale_min": "a"}, "log_scale_min is 'a'; accepted is from -40"),
        ({"upsample_convolution": 1}, "upsample_convolution is 1; accepted is true or false"),
        ({"speakers": "george"}, "speakers is 'george'; accepted is a list of names"),
        ({"mel": 5}, "mel is 5; accepted is None or a MelConfig"),
        ({"mel": {"hops": 5}}, "mel has 'hops'; accepted are sample_rate, n_fft, hop"),
        ({"mel": MEL, "upsample_scales": (4, 4.0)}, "accepted is ints from 1 whose product"),
        ({"mel": MEL, "upsample_scales": 16}, "upsample_scales is 16; accepted is a list"),
        ({"layers": 20}, "layers is 20; accepted is None or an int from 21 to 30"),
    ],
)
def test_configurations_that_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        GeneratorConfig(**{"sample_rate": 8000, **fields})


def test_another_description_of_the_mel_is_named():
    other = {**MEL.as_dict(), "hop": 8, "compression": "ln"}
    MEL.check_same(MEL.as_dict(), "a.npy")
    with pytest.raises(DataError, match="a.npy: .* hop 8 instead of 16; compression 'ln' instead"):
        MEL.check_same(other, "a.npy")


def test_smoothing_by_three_sums_of_taps_is_the_convolution():
    frames, taps = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    repeated = frames.flatten(0, 1)[:, None].repeat_interleave(4, dim=2)
    expected = F.conv1d(repeated, taps[None, None], padding=4).view(2, 3, 20)
    assert torch.allclose(_smoothed(frames, taps), expected, rtol=0, atol=1e-14)


def test_the_last_stack_may_end_early():
    config = GeneratorConfig(layers_per_stack=3, stacks=2, layers=4)
    assert config.dilations == (1, 2, 4, 1) and config.receptive_field == 9


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ([96, 5], "lengths is a list; accepted is a tensor .2,. of ints from 0 to 96"),
        (torch.tensor([97, 5]), "lengths holds 5 to 97; accepted"),
        (torch.tensor([5, -1]), "lengths holds -1 to 5; accepted"),
        (torch.tensor([5.0, 3.5]), "lengths is torch.float32; accepted"),
        (torch.tensor([5]), r"lengths has shape \(1,\); accepted"),
    ],
)
def test_lengths_that_are_refused(lengths, sentence):
    model, waveform = small_generator("codes"), waveform_of(2)
    for ask in (model.loss, model.bits_per_sample):
        with pytest.raises(ValueError, match=sentence):
            ask(waveform, lengths=lengths)


def test_speakers_are_numbers_of_any_kind():
    model, waveform = small_generator("speakers"), waveform_of(2)
    expected = model(waveform, speaker="jackson")
    one = (1, np.int64(1), np.array(1), torch.tensor(1), ["jackson"], np.str_("jackson"))
    for speaker in (*one, [1, 1], np.array([1, 1]), np.array(["jackson"] * 2), {1}):
        assert torch.equal(model(waveform, speaker=speaker), expected)
    for speaker in (True, 1.0, [0.5, 1], [torch.tensor(1.0)], torch.tensor([True, False])):
        with pytest.raises(ValueError, match="speaker is .*; accepted are george, jackson, or 0"):
            model(waveform, speaker=speaker)


@pytest.mark.parametrize(
    "case", ["codes", "logistic", "speakers", "speaker vectors", "mel interpolated"]
)
def test_losses_are_compiled_whole(case):
    model = small_generator(case)
    given, waveform = inputs_of(model, 2), waveform_of(2)
    if case == "speakers":
        given["speaker"] = torch.tensor([0, 1])
    expected = model.loss(waveform, **given)
    compiled = torch.compile(model.loss, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(waveform, **given), expected, rtol=1e-5)


def test_configurations_hold_pythons_numbers():
    """What was computed with NumPy or torch is as good, and JSON takes what becomes of it."""
    mel = MelConfig(8000, 64, 16, 64, 5, np.float32(0), torch.tensor(4000.0), floor=np.float64(0.1))
    config = GeneratorConfig(
        sample_rate=8000,
        mel=mel,
        upsample="interpolate",
        upsample_scales=np.array([4, 4]),
        speakers=np.unique(["b", "a"]),
        gain=np.float32(0.5),
        residual_scale=torch.tensor(2),
    )
    assert json.loads(json.dumps([config.gain, config.residual_scale])) == [0.5, 2]
    assert config.upsample_scales == (4, 4) and config.speakers == ("a", "b")
    assert json.loads(json.dumps(mel.as_dict()))["high_hz"] == 4000
