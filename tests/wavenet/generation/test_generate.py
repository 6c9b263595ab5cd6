"""Generation is the teacher-forced forward pass, sample by sample, however it is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_generators import CASES, double, inputs_of, small_generator, waveform_of

from wavenet.audio.filters import pre_emphasize
from wavenet.generation.generate import Loop
from wavenet_kernels.sampling import uniforms

EVERY = pytest.mark.parametrize("case", CASES)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loops_parameters_are_the_forward_passs(case, dtype):
    model = small_generator(case)
    given = inputs_of(model, 2)
    made = model.generate(**given, samples=96, count=2, seed=3, return_parameters=True, dtype=dtype)
    assert made.audio.shape == (2, 96) and made.audio.abs().max() <= 1
    said = model.to(dtype)(made.audio, **given)
    bound = 1e-5 if dtype == torch.float32 else 1e-13
    assert torch.allclose(said, made.parameters, rtol=0, atol=bound)


@EVERY
def test_teacher_forced_it_says_what_the_forward_pass_says(case):
    model = small_generator(case)
    given, waveform = inputs_of(model, 2), waveform_of(2)
    made = model.generate(**given, forced=waveform, return_parameters=True)
    assert torch.allclose(model(waveform, **given), made.parameters, rtol=0, atol=1e-5)


@EVERY
def test_given_noise_and_the_seeds_are_the_same(case):
    model = small_generator(case)
    given = inputs_of(model, 2)
    noise = uniforms(5, 96, batch=2)
    by_seed = model.generate(**given, samples=96, count=2, seed=5, temperature=0.8)
    assert torch.equal(model.generate(**given, noise=noise, temperature=0.8), by_seed)
    drawn = model.generate(**given, forced=by_seed, noise=noise, temperature=0.8)
    assert torch.allclose(drawn, by_seed, atol=1e-6)
    assert not torch.equal(model.generate(**given, samples=96, count=2, seed=6), by_seed)


@EVERY
def test_samples_are_the_distributions(case):
    """What is drawn from the parameters by the distribution itself."""
    model = small_generator(case)
    noise = uniforms(5, 96)
    made = model.generate(**inputs_of(model, 1), noise=noise, return_parameters=True)
    values = model.distribution.sample(made.parameters, noise)
    if model.config.distribution == "softmax":
        from wavenet.generation.samples import decode

        values = decode(values, model.config)
    if model.config.companding == "none":
        assert torch.allclose(values, made.audio, atol=1e-6)


@EVERY
def test_a_stream_in_any_chunks_is_the_whole(case):
    model = small_generator(case)
    given = inputs_of(model, 1)
    whole = model.generate(**given, samples=96, seed=2)
    if "mel" in given:
        mel = given.pop("mel")
        for sizes in ([1] * 6, [2, 0, 4], [5, 1]):
            chunks = model.stream(mel.split(sizes, dim=2), **given, seed=2)
            assert torch.equal(torch.cat(list(chunks), dim=1), whole), sizes
    else:
        chunks = model.stream(**given, seed=2, chunk=7)
        assert torch.equal(torch.cat([next(chunks) for _ in range(14)], dim=1)[:, :96], whole)


@pytest.mark.parametrize("case", ["codes", "logistic", "speakers"])
def test_a_prime_is_heard(case):
    model = small_generator(case).double()
    given, prime = inputs_of(model, 1), waveform_of(1, 30).double()
    options = {"dtype": torch.float64, "return_parameters": True}
    made = model.generate(**given, prime=prime, samples=20, **options)
    said = model(torch.cat([prime, made.audio], dim=1), **given)[:, :, 30:]
    assert torch.allclose(said, made.parameters, rtol=0, atol=1e-12)


def test_no_rounding_leads_beyond_full_scale():
    """(1 + mu - 1) / mu by exponentials of logarithms is not always 1."""
    loop = Loop(small_generator("logistic companded", mu=65535), 1)
    assert loop.finish(torch.tensor([[1.0, -1.0]])).tolist() == [[1.0, -1.0]]


def test_pre_emphasis_and_gain_are_undone():
    plain = small_generator("logistic")
    model = small_generator("logistic", pre_emphasis=0.85, gain=20.0)
    noise = uniforms(1, 60)
    options = {"noise": noise, "temperature": 0.05, "dtype": torch.float64}
    heard, finished = plain.generate(**options), model.generate(**options)
    assert finished.abs().max() < 1  # nothing was clipped
    assert torch.allclose(pre_emphasize(finished * 20.0, 0.85), heard, atol=1e-9)


@EVERY
def test_a_signal_of_a_batch_is_made_alone(case):
    """Bit by bit."""
    model = small_generator(case)
    given = inputs_of(model, 3)
    together = model.generate(**given, samples=96, count=3, seed=4)
    if "mel" in given:
        given["mel"] = given["mel"][2:]
    if "speaker" in given:
        given["speaker"] = given["speaker"][2:]
    alone = model.generate(**given, samples=96, seed=4, first_signal=2)
    assert torch.equal(together[2:], alone)


def test_what_is_refused():
    model, with_mel = small_generator("codes"), small_generator("mel repeated")
    for call, sentence in (
        (lambda: model.generate(), "seconds is missing; accepted is seconds or samples"),
        (
            lambda: model.generate(samples=5, temperature=0.0),
            "temperature is 0.0; accepted is more",
        ),
        (lambda: model.generate(samples=0), "samples is 0; accepted is an int from 1"),
        (lambda: model.generate(samples=5, noise=torch.rand(1, 4, 6)), r"ask for \[5, 6\]"),
        (lambda: model.generate(forced=torch.full((1, 5), 300)), "forced: .*codes 300 to 300"),
        (lambda: with_mel.generate(seconds=1.0), "mel is missing"),
        (lambda: with_mel.generate(torch.zeros(1, 4, 2)), r"mel has shape \(1, 4, 2\)"),
        (lambda: next(with_mel.stream()), "mel is missing"),
        (lambda: next(model.stream([torch.zeros(1, 5, 1)])), "mel_chunks is given; this model"),
        (
            lambda: next(with_mel.stream([torch.zeros(1, 4, 2)])),
            r"a chunk of mel_chunks has shape \(1, 4, n\); accepted is \(1, 5, n\)",
        ),
        (lambda: model.generate(seconds=math.nan), "seconds is nan; accepted is more than 0"),
        (lambda: model.generate(seconds="1"), "seconds is '1'; accepted is more than 0"),
        (lambda: model.generate(samples=3.5), "samples is 3.5; accepted is an int from 1"),
        (lambda: model.generate(samples=3, count=1.5), "count is 1.5; accepted is an int from 1"),
        (lambda: model.generate(samples=3, seed=None), "seed is None; accepted is an int"),
        (lambda: model.generate(samples=3, first_signal=-1), "first_signal is -1; accepted is"),
        (lambda: model.generate(samples=3, temperature="a"), "temperature is 'a'; accepted is"),
        (lambda: model.generate(samples=3, dtype=torch.half), "dtype is torch.float16; accepted"),
        (lambda: model.generate(noise=torch.rand(4, 9)), r"noise has shape \(4, 9\); accepted is"),
        (lambda: model.generate(noise=-torch.rand(1, 4, 900)), "noise holds others than floats"),
        (lambda: model.generate(noise=torch.rand(1, 3, 9)), r"accepted is \(1, 4, 9\)"),
        (
            lambda: model.generate(samples=3, prime=torch.zeros(5)),
            r"prime has shape \(5,\); accepted is \(B, n\)",
        ),
        (lambda: model.generate(forced=[0.1]), "forced is a list; accepted is a tensor"),
        (lambda: with_mel.generate(torch.zeros(5, 2)), r"mel has shape \(5, 2\); accepted is"),
        (lambda: with_mel.generate(torch.zeros(1, 5, 0)), "with F from 1"),
        (lambda: with_mel.generate(torch.zeros(1, 5, 2).long()), "mel is torch.int64; accepted"),
        (lambda: next(with_mel.stream([torch.zeros(5, 2)])), r"has shape \(5, 2\); accepted is"),
        (lambda: next(with_mel.stream([torch.full((1, 5, 2), math.nan)])), "aren't finite"),
        (lambda: next(with_mel.stream([torch.zeros(1, 5, 2)], count=2)), r"ask for \[1, 2\]"),
        (lambda: next(model.stream(chunk=0)), "chunk is 0; accepted is an int from 1"),
        (lambda: next(model.stream(count=0)), "count is 0; accepted is an int from 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_parameters_that_are_no_numbers_stop_it():
    model = small_generator("logistic")
    with torch.no_grad():
        model.output.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="sample 0: the network's parameters are not"):
        model.generate(samples=4)


@pytest.mark.slow
def test_a_network_that_learned_a_sine_makes_it():
    torch.manual_seed(0)
    model = small_generator("codes", residual_channels=16, layers_per_stack=6, stacks=1)
    period = 20
    sine = 0.6 * torch.sin(torch.arange(400) * 2 * torch.pi / period)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        shift = torch.randint(0, period, (4,))
        loss = model.loss(torch.stack([sine[s : s + 300] for s in shift]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = model.generate(seconds=0.1, prime=sine[None, :100], seed=1)[0]
    spectrum = torch.fft.rfft(made[:800]).abs()
    assert spectrum.argmax().item() == 800 // period
    assert spectrum.max() ** 2 > 0.9 * spectrum.square().sum()


def test_float64_inputs_are_not_narrowed():
    model = small_generator("gaussian").double()
    given = double(inputs_of(model, 1))
    assert model(waveform_of(1).double(), **given).dtype == torch.float64


def test_as_many_signals_as_speakers_are_listed():
    model, vectors = small_generator("speakers"), small_generator("speaker vectors")
    made = model.generate(samples=20, speaker=["george", "jackson"], seed=2)
    assert made.shape == (2, 20)
    assert torch.equal(made, model.generate(samples=20, count=2, speaker=["george", 1], seed=2))
    assert model.generate(samples=3, speaker=torch.tensor([[1], [0], [1]])).shape == (3, 3)
    assert model.generate(samples=3, speaker="george").shape == (1, 3)
    assert vectors.generate(samples=3, speaker=torch.randn(2, 3)).shape == (2, 3)
    assert vectors.generate(samples=3, speaker=torch.randn(3)).shape == (1, 3)
    with pytest.raises(ValueError, match="speaker names 0; accepted is one, or one for each"):
        model.generate(samples=3, count=2, speaker=[])
    with pytest.raises(ValueError, match="speaker names 0; accepted is one, or one for each of 1"):
        model.generate(samples=3, speaker=[])
    for speaker in (np.array([0, 1]), np.array(["george", "jackson"]), {"george": 0, 1: 1}.keys()):
        assert torch.equal(model.generate(samples=20, speaker=speaker, seed=2), made)
    first = next(model.stream(speaker=["george", "jackson"], seed=2, chunk=20))
    assert torch.equal(first, made)
    assert vectors.generate(samples=3, speaker=torch.ones(2, 3, dtype=torch.int64)).shape == (2, 3)


@pytest.mark.parametrize("of", [np.int64, np.uint8, np.array, torch.tensor])
def test_whole_numbers_of_numpy_and_torch(of):
    model = small_generator("logistic")
    expected = model.generate(samples=20, count=2, seed=3, first_signal=1)
    made = model.generate(samples=of(20), count=of(2), seed=of(3), first_signal=of(1))
    assert torch.equal(made, expected)
    streamed = model.stream(count=of(2), chunk=of(20), seed=of(3), first_signal=of(1))
    assert torch.equal(next(streamed), expected)


@pytest.mark.parametrize("of", [np.float32, np.float16, np.array, torch.tensor])
def test_numbers_of_numpy_and_torch(of):
    model = small_generator("logistic")
    expected = model.generate(seconds=0.25, temperature=0.5)
    assert torch.equal(model.generate(seconds=of(0.25), temperature=of(0.5)), expected)
