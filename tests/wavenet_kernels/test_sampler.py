"""The sampling loop, in PyTorch and in C++: the network's own parameters, however it is run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

import wavenet_kernels
from wavenet_kernels import BackendUnavailableError, reference
from wavenet_kernels.sampling import SampleNetwork, Sampler, uniforms
from wavenet_kernels.sampling.loops import _BYTES_A_THREAD, _TRIED_EVERY, _Pace

DRAWS = {"softmax": (20, 20), "logistic": (6, 1), "gaussian": (2, 1), "gaussians": (9, 1)}
SHAPES = {
    "plain": {},
    "odd widths": {"R": 5, "D": 3, "S": 7, "H": 9, "K": 4, "dilations": (3, 1, 5)},
    "one tap, one layer": {"K": 1, "dilations": (1,), "taps": 2},
    "wide, no biases": {"R": 40, "D": 70, "S": 24, "dilations": (1, 2, 4, 8, 16), "bias": False},
    "input of three": {"taps": 3, "input_tanh": True, "K": 3, "dilations": (16, 2)},
}
EVERY = pytest.mark.parametrize("shape", SHAPES)
LOOPS = pytest.mark.parametrize("backend", ["reference", "cpu"])


def network(draw: str = "logistic", shape: str = "plain", dtype=torch.float32) -> SampleNetwork:
    sizes = {"R": 8, "D": 8, "S": 16, "H": 12, "K": 2, "taps": 1, "dilations": (1, 2, 4)}
    sizes |= {"bias": True, "input_tanh": False, **SHAPES[shape]}
    R, D, S, H, K = (sizes[name] for name in "RDSHK")
    L, (P, rows) = len(sizes["dilations"]), DRAWS[draw]
    torch.manual_seed(len(draw) + len(shape))

    def bias(*shape: int) -> Tensor | None:
        return 0.3 * torch.randn(*shape, dtype=dtype) if sizes["bias"] else None

    def weight(*shape: int, fan: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype) / fan**0.5

    return SampleNetwork(
        input_weight=weight(sizes["taps"], rows, R, fan=1),
        input_bias=bias(R),
        conv_weight=weight(L, 2 * D, R, K, fan=R * K),
        conv_bias=bias(L, 2 * D),
        out_weight=weight(L, R + S, D, fan=D),
        out_bias=bias(L, R + S),
        hidden_weight=weight(H, S, fan=S),
        hidden_bias=bias(H),
        output_weight=weight(P, H, fan=H),
        output_bias=bias(P),
        dilations=sizes["dilations"],
        draw="gaussian" if draw == "gaussians" else draw,
        first=10 if draw == "softmax" else 0.0,
        residual_scale=0.7,
        skip_scale=0.6,
        input_tanh=sizes["input_tanh"],
        scale_floor=-3.0 if draw == "gaussians" else None,
    )


def expected(net: SampleNetwork, heard: Tensor, cond: Tensor | None) -> Tensor:
    """The parameters (B, P, n) of a signal, all at once, by the operators' reference."""
    first = heard.new_full((len(heard), net.taps), net.first)
    past = torch.cat([first, heard], dim=1)
    n = heard.shape[1]
    x = torch.stack([net.embed(past[:, t : t + net.taps]) for t in range(n)], dim=2)
    weights = (net.conv_weight, net.conv_bias, net.out_weight, net.out_bias)
    options = {"dilations": net.dilations, "residual_scale": net.residual_scale}
    _, skip = reference.residual_stack(x, *weights, cond, **options)
    return net.head(skip.transpose(1, 2)).transpose(1, 2)


def sampler(net: SampleNetwork, backend: str, **options) -> Sampler:
    with wavenet_kernels.use_backend(backend):
        return Sampler(net, **options)


@EVERY
@LOOPS
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("times", [None, 1, 40])
def test_its_parameters_are_the_networks(draw, shape, backend, times):
    net = network(draw, shape)
    cond = None if times is None else torch.randn(2, net.cond_channels, times)
    said = torch.empty(2, net.parameters, 40)
    loop = sampler(net, backend, batch=2)
    made = loop.run(40, cond, seed=3, parameters=said)
    assert loop.position == 40
    wide = net.to(torch.float64)
    heard = made if net.codes else made.double()
    truth = expected(wide, heard, None if cond is None else cond.double())
    plain = expected(net, made, cond)
    bound = 2 * (plain - truth).abs().max() + 4 * torch.finfo(torch.float32).eps * truth.abs().max()
    assert (said - truth).abs().max() <= bound
    assert made.dtype == (torch.int64 if net.codes else torch.float32)


@EVERY
@pytest.mark.parametrize("draw", DRAWS)
def test_both_draw_the_same(draw, shape):
    net = network(draw, shape)
    with_noise = {"noise": torch.rand(2, 4, 60), "temperature": 0.8}
    made = sampler(net, "cpu", batch=2).run(60, **with_noise)
    same = sampler(net, "reference", batch=2).run(60, forced=made, **with_noise)
    assert torch.equal(made, same) if net.codes else torch.allclose(made, same, atol=1e-5)


@EVERY
def test_bit_by_bit_the_same_in_any_chunks_and_batch(shape):
    net = network("softmax", shape)
    cond = torch.randn(5, net.cond_channels, 70)
    whole_said = torch.empty(5, 20, 70)
    whole = sampler(net, "cpu", batch=5).run(70, cond, seed=9, parameters=whole_said)
    alone, said = sampler(net, "cpu"), torch.empty(1, 20, 70)
    pieces, at = [], 0
    for n in (1, 2, 30, 0, 3, 34):
        here = slice(at, at + n)
        part = torch.empty(1, 20, n)
        pieces.append(alone.run(n, cond[3:4, :, here], seed=9, first_signal=3, parameters=part))
        said[:, :, here] = part
        at += n
    assert torch.equal(torch.cat(pieces, dim=1)[0], whole[3])
    assert torch.equal(said[0], whole_said[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [2, 3, 5])
@EVERY
def test_bit_by_bit_the_same_on_any_threads(shape, threads, dtype, monkeypatch):
    net = network("logistic", shape)
    cond = torch.randn(2, net.cond_channels, 50)
    pieces, said = [], torch.empty(2, 6, 50)
    made = sampler(net, "cpu", batch=2, weights_dtype=dtype)
    for at in range(0, 50, 10):  # another number for each call
        monkeypatch.setattr(_Pace, "_choose", lambda self, at=at: threads if at % 20 else 1)
        part = torch.empty(2, 6, 10)
        pieces.append(made.run(10, cond[:, :, at : at + 10], seed=9, parameters=part))
        said[:, :, at : at + 10] = part
    monkeypatch.setattr(_Pace, "_choose", lambda self: 1)
    alone, expected_said = sampler(net, "cpu", batch=2, weights_dtype=dtype), torch.empty(2, 6, 50)
    assert torch.equal(torch.cat(pieces, 1), alone.run(50, cond, seed=9, parameters=expected_said))
    assert torch.equal(said, expected_said)


def test_threads_are_used_where_they_are_faster(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("wavenet_kernels.sampling.loops.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)

    def calls(pace: _Pace, seconds: dict[int, float], count: int) -> list[int]:
        chosen = []
        for _ in range(count):
            with pace.threads(10) as threads:
                now[0] += seconds[threads]
            chosen.append(threads)
        return chosen

    pace = _Pace(4 * _BYTES_A_THREAD)
    first = calls(pace, {1: 2.0, 4: 1.0}, 100)
    assert first.count(1) == 1 + 100 // _TRIED_EVERY  # tried, and again from time to time
    later = calls(pace, {1: 2.0, 4: 9.0}, 100)  # a neighbour needs the cores
    assert later.count(4) <= 2 + 100 // _TRIED_EVERY
    assert set(calls(_Pace(_BYTES_A_THREAD), {1: 1.0}, 40)) == {1}  # too little to share


@EVERY
@LOOPS
def test_a_state_is_gone_on_from(shape, backend):
    net = network("logistic", shape)
    for n in (1, 5, 16, 37):
        one, other = (sampler(net, backend, batch=2) for _ in range(2))
        one.run(n, seed=4)
        state = one.state()
        following = one.run(30, seed=4)
        other.run(11, seed=1)
        other.load_state(state)
        assert torch.equal(other.run(30, seed=4), following)
        one.reset()
        assert torch.equal(one.run(n, seed=4), sampler(net, backend, batch=2).run(n, seed=4))


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "amx"])
@EVERY
def test_every_instruction_set(isa, shape, monkeypatch):
    from wavenet_kernels import _cpu

    if isa not in _cpu.build_info()["usable_isas"]:
        pytest.skip(f"no {isa} here")
    net = network("logistic", shape)
    forced = torch.rand(3, 40) - 0.5
    said, best = torch.empty(3, 6, 40), torch.empty(3, 6, 40)
    sampler(net, "cpu", batch=3).run(40, forced=forced, parameters=best)
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", isa)
    sampler(net, "cpu", batch=3).run(40, forced=forced, parameters=said)
    assert torch.allclose(said, best, rtol=0, atol=1e-5)


@pytest.mark.parametrize("draw", DRAWS)
def test_weights_of_bfloat16_are_rounded_and_nothing_else(draw):
    net = network(draw, "odd widths")
    with_noise = {"noise": torch.rand(2, 4, 40)}
    said, same = (torch.empty(2, net.parameters, 40) for _ in range(2))
    options = {"batch": 2, "weights_dtype": torch.bfloat16}
    made = sampler(net, "cpu", **options).run(40, parameters=said, **with_noise)
    sampler(net, "reference", **options).run(40, forced=made, parameters=same, **with_noise)
    assert torch.allclose(said, same, rtol=0, atol=1e-5)
    full = torch.empty_like(said)
    sampler(net, "cpu", batch=2).run(40, forced=made, parameters=full, **with_noise)
    assert 1e-4 < (full - said).abs().max() < 0.2


@pytest.mark.parametrize("temperature", [1e-6, 1e-9, 1e-38, 1e-300])
@LOOPS
def test_the_likeliest_is_drawn_where_it_is_cold(backend, temperature):
    """Of logits of hundreds, too."""
    net = network("softmax")
    net = dataclasses.replace(net, output_bias=torch.linspace(300, 340, net.parameters))
    said = torch.empty(2, net.parameters, 50)
    codes = sampler(net, backend, batch=2).run(50, temperature=temperature, parameters=said)
    assert torch.equal(codes, said.argmax(1))


@EVERY
def test_weights_of_bfloat16_have_the_bits_of_float32(shape):
    net = network(shape=shape)
    names = [f"{name}_weight" for name in ("conv", "out", "hidden", "output")]
    rounded = {name: getattr(net, name).bfloat16().float() for name in names}
    same = dataclasses.replace(net, **rounded)
    noise = torch.rand(3, 4, 40)
    made = sampler(net, "cpu", batch=3, weights_dtype=torch.bfloat16).run(40, noise=noise)
    assert torch.equal(made, sampler(same, "cpu", batch=3).run(40, noise=noise))


def test_float64_is_computed_in_pytorch():
    net = network(dtype=torch.float64)
    said = torch.empty(1, 6, 30, dtype=torch.float64)
    made = Sampler(net).run(30, noise=uniforms(1, 30), parameters=said)
    assert torch.allclose(said, expected(net, made, None), rtol=0, atol=1e-13)
    with pytest.raises(BackendUnavailableError, match='backend "cpu": the loop in C.. computes in'):
        sampler(net, "cpu")


@LOOPS
def test_parameters_that_are_not_finite_are_named(backend):
    net = network()
    cond = torch.zeros(1, net.cond_channels, 20)
    cond[0, :, 13] = float("nan")
    with pytest.raises(FloatingPointError, match="sample 13: the network's parameters are not"):
        sampler(net, backend).run(20, cond)


def one_new_and_one_spoilt(backend, dtype) -> tuple[Sampler, Sampler, Tensor]:
    """Of a network whose rows fill up no vector, the second full of NaN; and conditioning."""
    net = network(shape="odd widths")
    cond = torch.randn(1, net.cond_channels, 20)
    new, spoilt = (sampler(net, backend, weights_dtype=dtype) for _ in range(2))
    with pytest.raises(FloatingPointError):
        spoilt.run(20, torch.full_like(cond, float("nan")))
    return new, spoilt, cond


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@LOOPS
def test_a_loop_that_was_reset_is_a_new_one(backend, dtype):
    """Of all that was there nothing is left, neither in rows that fill up a vector."""
    new, used, cond = one_new_and_one_spoilt(backend, dtype)
    used.reset()
    assert torch.equal(used.run(20, cond), new.run(20, cond))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@LOOPS
def test_a_state_takes_the_place_of_all_that_was_there(backend, dtype):
    """In rows that fill up a vector, too, where what wasn't finite has been."""
    first, used, cond = one_new_and_one_spoilt(backend, dtype)
    first.run(5, cond[:, :, :5])
    used.load_state(first.state())
    assert torch.equal(used.run(20, cond), first.run(20, cond))


@LOOPS
def test_what_is_refused(backend):
    loop, codes = sampler(network(), backend), sampler(network("softmax"), backend)
    for call, sentence in (
        (lambda: loop.run(-1), "n is -1; accepted is an int from 0"),
        (lambda: loop.run(5, torch.zeros(1, 48, 4)), r"cond .*\(1, 48, 4\); .* \(1, 48, 5\) or"),
        (lambda: loop.run(5, noise=torch.zeros(1, 4, 6)), "noise has shape"),
        (lambda: loop.run(5, forced=torch.zeros(2, 5)), "forced has shape"),
        (lambda: loop.run(5, temperature=0.0), "temperature is 0.0; accepted is more than 0"),
        (lambda: loop.run(5, temperature="a"), "temperature is 'a'; accepted is more than 0"),
        (lambda: loop.run(5, noise=torch.full((1, 4, 5), 1.5)), "noise holds others than floats"),
        (lambda: loop.run(5, noise=[0.5]), "noise is a list; accepted is a tensor"),
        (lambda: loop.run(5, seed=0.5), "seed is 0.5; accepted is an int"),
        (lambda: loop.run(5, seed=torch.tensor(2.0)), "seed is .*; accepted is an int"),
        (lambda: loop.run(5, first_signal=2**32), "first_signal is 4294967296; accepted is"),
        (lambda: loop.run(5, out=torch.zeros(1, 4)), r"out has shape \(1, 4\); accepted is"),
        (
            lambda: codes.run(5, out=torch.zeros(1, 5)),
            "out is torch.float32; accepted is torch.int",
        ),
        (lambda: codes.run(2, forced=torch.full((1, 2), 20)), "forced holds no codes; .* 0 to 19"),
        (lambda: codes.run(2, forced=torch.zeros(1, 2)), "forced holds no codes"),
        (lambda: Sampler(network(), batch=0), "batch is 0; accepted is an int from 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    with pytest.raises(TypeError, match="weights_dtype is torch.float16; accepted are"):
        Sampler(network(), weights_dtype=torch.float16)


def test_networks_that_do_not_fit_together():
    net = network()
    fields = {name: getattr(net, name) for name in net.__dataclass_fields__}
    for change, sentence in (
        ({"draw": "cauchy"}, "draw is 'cauchy'; accepted is one of"),
        ({"dilations": (1, 2)}, "conv_weight has shape .*; accepted is .2, 2D, R, K."),
        ({"out_bias": torch.zeros(3, 5)}, r"out_bias has shape \(3, 5\); accepted is \(3, 24\)"),
        ({"draw": "softmax"}, "output_weight has 6 rows and input_weight 1 values"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SampleNetwork(**{**fields, **change})


@LOOPS
@pytest.mark.parametrize("draw", ["softmax", "logistic"])
def test_samples_go_where_they_are_wanted(draw, backend):
    expected = sampler(network(draw), backend).run(9, seed=3)
    out = expected.new_full((9, 1), 5).T
    made = sampler(network(draw), backend).run(9, seed=3, out=out)
    assert made is out and torch.equal(out, expected)


def test_a_state_of_another_kind_is_refused():
    """A smaller one would be read beyond its end."""
    loop = sampler(network("logistic"), "cpu", batch=2)
    loop.run(5)
    state = loop.state()
    others = [sampler(network("logistic"), "cpu", batch=3), sampler(network("softmax"), "cpu")]
    others.append(sampler(network("logistic"), "reference", batch=2))
    for other in others:
        with pytest.raises(ValueError, match="state is not of this sampler's network and batch"):
            other.load_state(state)
    position, values = state["loop"]
    for wrong in (None, {}, {**state, "position": -1}, {**state, "loop": (position, values[:-1])}):
        with pytest.raises(ValueError, match="state is not of this sampler's"):
            loop.load_state(wrong)
    following = loop.run(7)
    wide = torch.stack([values, values], dim=1)[:, 0]  # not contiguous
    loop.load_state({**state, "loop": (position, wide)})
    assert torch.equal(loop.run(7), following)


@LOOPS
@pytest.mark.parametrize("of", [np.int64, np.uint8, np.array, torch.tensor])
def test_numbers_of_numpy_and_torch(of, backend):
    expected = sampler(network(), backend).run(9, seed=3, first_signal=2, temperature=0.5)
    made = sampler(network(), backend).run(9, seed=of(3), first_signal=of(2), temperature=0.5)
    assert torch.equal(made, expected)
    for half in (np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        made = sampler(network(), backend).run(9, seed=3, first_signal=2, temperature=half)
        assert torch.equal(made, expected)
