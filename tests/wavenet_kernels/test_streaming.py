"""StackStream: the stack fed chunk by chunk, in place."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from operator_cases import Case, call

import wavenet_kernels
from wavenet_kernels import reference
from wavenet_kernels.nn import ResidualStack, StackStream

BACKENDS = ("reference", "cpu")


def _case(dtype=torch.float32, **sizes):
    case = Case(time=150, residual=20, dilation_channels=12, dilations=(1, 40, 2), **sizes)
    tensors, settings = call("residual_stack", case, dtype)
    del settings["padding"]
    return tensors, settings


@pytest.mark.parametrize("cond", ["none", "global", "local"])
@pytest.mark.parametrize("taps", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_of_any_sizes_are_the_whole(backend, dtype, taps, cond):
    (x, *weights, c), settings = _case(dtype, taps=taps, cond=cond, scale=0.8)
    whole = reference.residual_stack(x, *weights, c, **settings)
    with wavenet_kernels.use_backend(backend):
        stream = StackStream(*weights, batch=2, **settings)
    for _ in range(2):  # the second time after a reset
        pieces, done = [], 0
        for size in (1, 1, 7, 1, 50, 3, 80, 7):
            chunk = slice(done, done + size)
            outputs = stream(x[:, :, chunk], c[:, :, chunk] if cond == "local" else c)
            pieces.append(torch.cat(outputs, dim=1).clone())
            done += size
        torch.testing.assert_close(torch.cat(pieces, dim=2), torch.cat(whole, dim=1))
        stream.reset()


@pytest.mark.parametrize("width", [20, 72, 130])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_few_rows_have_the_bits_of_many(width, size):
    """Of few rows several panels of weights are multiplied at once; four taps are no fast ones."""
    torch.manual_seed(width)
    stack = ResidualStack(width, width, 2 * width + 9, dilations=(1, 3, 2), kernel_size=4)
    x = torch.randn(2, width, 30)
    with wavenet_kernels.use_backend("cpu"):
        weights = stack.conv_weight, stack.conv_bias, stack.out_weight, stack.out_bias
        streams = [StackStream(*weights, dilations=stack.dilations, batch=2) for _ in range(2)]
    whole = [output.clone() for output in streams[0](x)]
    parts = [[output.clone() for output in streams[1](part)] for part in x.split(size, dim=2)]
    for expected, found in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.cat(found, dim=2), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_close_as_eager(dtype):
    (x, *weights, _), settings = _case(dtype)
    exact = reference.residual_stack(x.double(), *(w.double() for w in weights), **settings)
    eager = reference.residual_stack(x, *weights, **settings)
    with wavenet_kernels.use_backend("cpu"):
        stream = StackStream(*weights, batch=2, **settings)
    chunks = [[o.clone() for o in stream(chunk)] for chunk in x.split(11, dim=2)]
    for got, yardstick, truth in zip(zip(*chunks, strict=True), eager, exact, strict=True):
        error = (torch.cat(got, dim=2).double() - truth).abs().max()
        assert error <= 2 * (yardstick.double() - truth).abs().max()


def test_a_step_makes_no_tensor():
    (x, *weights, _), settings = _case()
    with wavenet_kernels.use_backend("cpu"):
        stream = StackStream(*weights, batch=2, **settings)
    first = stream(x[:, :, :5])
    again = stream(x[:, :, 5:10])
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(first, again, strict=True))


def test_weights_are_copied():
    (x, *weights, _), settings = _case()
    streams = [StackStream(*weights, batch=2, **settings) for _ in range(2)]
    expected = [o.clone() for o in streams[0](x)]
    for weight in weights:
        weight.zero_()
    assert all(map(torch.equal, streams[1](x), expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_needs_no_weights_of_the_caller(dtype):
    """The fast convolutions give way to plain ones there, with weights that are packed then."""
    (x, *weights, _), settings = _case(dtype)
    x[:, :, 140:] = float("nan")
    expected = reference.residual_stack(x, *weights, **settings)[0].float()
    with wavenet_kernels.use_backend("cpu"):
        stream = StackStream(*weights, batch=2, **settings)
    for weight in weights:
        weight.fill_(float("inf"))
    got = stream(x)[0].float()
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.2}[dtype]
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance, equal_nan=True)


def test_a_long_chunk_takes_little_memory():
    from wavenet_kernels import _cpu

    (_, *weights, _), settings = _case()
    with wavenet_kernels.use_backend("cpu"):
        stream = StackStream(*weights, batch=1, **settings)
    _cpu.workspace_peak(True)
    stream(torch.randn(1, 20, 100_000))
    assert _cpu.workspace_peak(False) < 2**20


def test_more_state_than_there_is_memory():
    (_, *weights, _), settings = _case()
    for dilation in (2**40, 2**62):
        with pytest.raises(MemoryError):
            StackStream(*weights, **{**settings, "dilations": (1, dilation, 2)})


def test_no_skip_and_no_biases():
    (x, *weights, _), settings = _case(skip=0, conv_bias=False, out_bias=False)
    stream = StackStream(*weights, batch=2, **settings)
    residual, skip = stream(x)
    assert skip.shape == (2, 0, 150)
    expected, _ = reference.residual_stack(x, *weights, **settings)
    torch.testing.assert_close(residual, expected)


def test_bad_input_is_a_sentence():
    (x, *weights, _), settings = _case()
    with pytest.raises(ValueError, match=r"batch is 0; accepted is 1 or more"):
        StackStream(*weights, batch=0, **settings)
    with pytest.raises(ValueError, match=r"conv_weight has shape .*accepted is \(L, 2D, R, K\)"):
        StackStream(weights[0][0], *weights[1:], **settings)
    with pytest.raises(TypeError, match=r"dilations holds 1.5; accepted are ints from 1"):
        StackStream(*weights, **{**settings, "dilations": (1, 1.5, 2)})
    stream = StackStream(*weights, batch=2, **settings)
    with pytest.raises(ValueError, match=r"x has shape \(1, 20, 150\); accepted is \(2, 20, n\)"):
        stream(x[:1])
    with pytest.raises(ValueError, match=r"cond has shape .*accepted is \(2, 72, 150 or 1\)"):
        stream(x, x)
    with pytest.raises(TypeError, match=r"x is torch.float64 on cpu, the weights are"):
        stream(x.double())
    with pytest.raises(NotImplementedError, match=r"x requires a gradient; call it under"):
        stream(x.requires_grad_())
    with (
        wavenet_kernels.use_backend("cuda"),
        pytest.raises(wavenet_kernels.BackendUnavailableError),
    ):
        StackStream(*weights, **settings)


def test_integers_of_numpy_and_torch_are_integers():
    (x, *weights, _), settings = _case()
    settings["dilations"] = [np.int64(1), torch.tensor(40), np.int32(2)]
    residual, skip = StackStream(*weights, batch=np.int64(2), **settings)(x)
    settings["dilations"] = (1, 40, 2)
    for got, wanted in zip(
        (residual, skip), StackStream(*weights, batch=2, **settings)(x), strict=True
    ):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_go_on_from_where_the_stream_is(backend, copied):
    (x, *weights, cond), settings = _case(cond="global")
    with wavenet_kernels.use_backend(backend):
        stream = StackStream(*weights, batch=2, **settings)
        stream(x[:, :, :70], cond)
        other = copied(stream)
        expected = [part.clone() for part in stream(x[:, :, 70:], cond)]
        stream.reset()
        for got, wanted in zip(other(x[:, :, 70:], cond), expected, strict=True):
            torch.testing.assert_close(got, wanted)
        assert other.batch == 2 and other.channels == 20
