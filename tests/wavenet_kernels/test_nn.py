"""The modules: what they compute, how they start, what they say of themselves."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import wavenet_kernels
from wavenet_kernels import nn, reference
from wavenet_kernels.nn import CausalConv1d, GatedConv1d, ResidualBlock, ResidualStack

ONE = torch.tensor(1.0)
# One of each, of four input channels; with more keywords if there are any.
LAYERS = {
    "convolution": lambda **more: CausalConv1d(4, 6, 3, dilation=2, **more),
    "strided convolution": lambda **more: CausalConv1d(4, 6, 3, stride=2, **more),
    "gated convolution": lambda **more: GatedConv1d(4, 3, 3, **more),
    "block": lambda **more: ResidualBlock(4, 3, 5, dilation=2, **more),
    "stack": lambda **more: ResidualStack(4, 3, 5, dilations=(1, 2), **more),
}


@pytest.mark.parametrize("name", [n for n in nn.__all__ if hasattr(getattr(nn, n), "forward")])
def test_help_of_a_forward_is_its_own(name):
    """Not torch's placeholder."""
    assert "(B," in (getattr(nn, name).forward.__doc__ or "")


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_causal_conv_sees_no_future_and_strides_it(stride, dilation):
    conv = CausalConv1d(3, 4, 5, stride=stride, dilation=dilation)
    x = torch.randn(2, 3, 23)
    y = conv(x)
    assert y.shape == (2, 4, -(-23 // stride))
    full = reference.dilated_conv1d(x, conv.weight, conv.bias, dilation=dilation)
    torch.testing.assert_close(y, full[:, :, ::stride])
    changed = x.clone()
    changed[:, :, 11:] = 7.0
    seen = -(-11 // stride)  # outputs whose newest input is before sample 11
    assert torch.equal(conv(changed)[:, :, :seen], y[:, :, :seen])


def test_state_dict_of_torch_conv_loads():
    torch_conv = torch.nn.Conv1d(3, 4, 2, dilation=2)
    conv = CausalConv1d(3, 4, 2, dilation=2)
    conv.load_state_dict(torch_conv.state_dict())
    x = torch.randn(1, 3, 9)
    padded = torch.nn.functional.pad(x, (2, 0))
    torch.testing.assert_close(conv(x), torch_conv(padded))


def test_gated_conv_and_block_compute_the_operators():
    x, cond = torch.randn(2, 4, 9), torch.randn(2, 6, 1)
    gated = GatedConv1d(4, 3, 3, dilation=2, padding="same")
    expected = reference.gated_conv1d(x, gated.weight, gated.bias, cond, dilation=2, padding="same")
    torch.testing.assert_close(gated(x, cond), expected)
    block = ResidualBlock(4, 3, 5, dilation=2, residual_scale=0.5, bias=False)
    expected = reference.residual_block(
        x, block.conv_weight, None, block.out_weight, None, cond, dilation=2, residual_scale=0.5
    )
    for got, truth in zip(block(x, cond), expected, strict=True):
        torch.testing.assert_close(got, truth)


def test_stack_streams():
    stack = ResidualStack(4, 3, 5, dilations=(1, 2, 4), kernel_size=3)
    assert stack.receptive_field == 15
    x = torch.randn(2, 4, 40)
    residual, skip = stack(x)
    state, skips = stack.initial_state(2), []
    for chunk in x.split([1, 9, 0, 30], dim=2):
        _, s, state = stack.stream(chunk, state)
        skips.append(s)
    torch.testing.assert_close(torch.cat(skips, 2), skip)
    with pytest.raises(ValueError, match="padding is 'same'; only \"causal\" can be streamed"):
        ResidualStack(4, 3, 5, dilations=(1,), kernel_size=3, padding="same").stream(x, state)


@pytest.mark.parametrize("layers", [1, 10, 40, 100])
def test_scale_stays_at_any_depth(layers):
    """The residual path and the skip sum start near unit variance, and so do the gradients."""
    torch.manual_seed(0)
    dilations = [2 ** (i % 8) for i in range(layers)]
    stack = ResidualStack(32, 32, 64, dilations=dilations)
    x = torch.randn(2, 32, 1000, requires_grad=True)
    residual, skip = stack(x)
    assert 0.8 < residual.std() < 2.0
    assert 0.5 < skip.std() < 1.8
    (grad,) = torch.autograd.grad((residual * torch.randn_like(residual)).sum(), [x])
    assert 0.5 < grad.std() < 3.0


def test_forty_layers_train():
    """A deep stack learns to tell which of two impulses came first, 60 steps apart."""
    torch.manual_seed(0)
    stack = ResidualStack(16, 16, 16, dilations=[1, 2, 4, 8, 16] * 8, last_residual=False)
    head = torch.nn.Linear(16, 1)
    parameters = [*stack.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    x = torch.zeros(32, 16, 80)
    y = torch.arange(32) % 2
    for i in range(32):
        x[i, int(y[i]), 5 + i // 4] = 3.0
        x[i, 1 - int(y[i]), 65 + i // 4] = 3.0
    for _ in range(60):
        logits = head(torch.relu(stack(x)[1]).mean(2)).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_modules_say_what_they_are():
    stack = ResidualStack(4, 3, 5, dilations=(1, 2), last_residual=False)
    assert "4, 3, 5, kernel_size=2, dilations=(1, 2)" in repr(stack)
    assert "last_residual=False" in repr(stack)
    assert "3, 4, kernel_size=2, dilation=1, stride=2" in repr(CausalConv1d(3, 4, 2, stride=2))
    assert "padding='same'" in repr(GatedConv1d(3, 4, 3, padding="same"))
    assert "4, 3, 5, kernel_size=2" in repr(ResidualBlock(4, 3, 5))


def test_state_dicts_are_complete():
    stack = ResidualStack(4, 3, 5, dilations=(1, 2))
    other = ResidualStack(4, 3, 5, dilations=(1, 2))
    other.load_state_dict(stack.state_dict())
    x = torch.randn(1, 4, 8)
    for a, b in zip(stack(x), other(x), strict=True):
        assert torch.equal(a, b)
    bare = ResidualStack(4, 3, 5, dilations=(1, 2), bias=False)
    assert set(bare.state_dict()) == {"conv_weight", "out_weight"}


@pytest.mark.slow
def test_torch_and_numpy_are_all_that_layers_need():
    code = """if True:
        import sys

        absent = "wavenet accelerate safetensors huggingface_hub soundfile soxr typer rich"
        for name in (absent + " matplotlib tensorboard triton scipy sklearn").split():
            sys.modules[name] = None  # importing it is an error
        import torch
        from wavenet_kernels.nn import ResidualStack

        stack = ResidualStack(4, 3, 5, dilations=(1, 2))
        sum(o.sum() for o in stack(torch.randn(1, 4, 9))).backward()
        stack.stream(torch.randn(1, 4, 2), stack.initial_state(1))
    """
    subprocess.run([sys.executable, "-c", code], check=True)


CONSTRUCTIONS = {
    "no input channels": (
        lambda: CausalConv1d(0, 4, 2),
        ValueError,
        "CausalConv1d: in_channels is 0; accepted is an int from 1",
    ),
    "half a channel": (
        lambda: GatedConv1d(3, 1.5, 2),
        TypeError,
        "GatedConv1d: out_channels is 1.5; accepted is an int from 1",
    ),
    "no taps": (
        lambda: ResidualBlock(4, 3, 5, kernel_size=0),
        ValueError,
        "ResidualBlock: kernel_size is 0; accepted is an int from 1",
    ),
    "stride zero": (
        lambda: CausalConv1d(3, 4, 2, stride=0),
        ValueError,
        "CausalConv1d: stride is 0; accepted is an int from 1",
    ),
    "negative dilation": (
        lambda: GatedConv1d(3, 4, 2, dilation=-1),
        ValueError,
        "GatedConv1d: dilation is -1; accepted is an int from 1",
    ),
    "negative skip": (
        lambda: ResidualStack(4, 3, -1, dilations=(1,)),
        ValueError,
        "ResidualStack: skip_channels is -1; accepted is an int from 0",
    ),
    "no layers": (
        lambda: ResidualStack(4, 3, 5, dilations=()),
        ValueError,
        "ResidualStack: dilations is empty; accepted is an int from 1 for each layer",
    ),
    "a dilation of zero": (
        lambda: ResidualStack(4, 3, 5, dilations=(1, 0)),
        ValueError,
        "ResidualStack: dilations holds 0; accepted is an int from 1 for each layer",
    ),
    "one number for dilations": (
        lambda: ResidualStack(4, 3, 5, dilations=3),
        TypeError,
        "ResidualStack: dilations is 3; accepted is an int from 1 for each layer",
    ),
    "checkpoint_every zero": (
        lambda: ResidualStack(4, 3, 5, dilations=(1,), checkpoint_every=0),
        ValueError,
        "ResidualStack: checkpoint_every is 0; accepted is an int from 1",
    ),
    "keep what there is not": (
        lambda: ResidualStack(4, 3, 5, dilations=(1,), keep="all"),
        ValueError,
        'ResidualStack: keep is \'all\'; accepted are "auto", "inputs" and "gates"',
    ),
    "gates of checkpoints": (
        lambda: ResidualStack(4, 3, 5, dilations=(1,), checkpoint_every=2, keep="gates"),
        ValueError,
        'ResidualStack: keep is "gates" with checkpoint_every 2; accepted is 1, or "inputs"',
    ),
    "unknown padding": (
        lambda: GatedConv1d(3, 4, 2, padding="valid"),
        ValueError,
        'GatedConv1d: padding is \'valid\'; accepted are "causal" and "same"',
    ),
    "same padding of even taps": (
        lambda: ResidualBlock(4, 3, 5, padding="same"),
        ValueError,
        'ResidualBlock: kernel_size is 2; accepted with padding "same" is an odd number',
    ),
    "a scale to learn": (
        lambda: ResidualStack(4, 3, 5, dilations=(1,), residual_scale=torch.nn.Parameter(ONE)),
        TypeError,
        "ResidualStack: residual_scale is a Parameter; accepted is a number, which stays what it",
    ),
    "a scale in a tensor": (
        lambda: ResidualBlock(4, 3, 5, residual_scale=ONE),
        TypeError,
        "ResidualBlock: residual_scale is a Tensor; accepted is a number",
    ),
    "a scale in words": (
        lambda: ResidualBlock(4, 3, 5, residual_scale="0.5"),
        TypeError,
        "ResidualBlock: residual_scale is a str; accepted is a number",
    ),
    "parameters of integers": (
        lambda: CausalConv1d(3, 4, 2, dtype=torch.int64),
        TypeError,
        "CausalConv1d: dtype is torch.int64; accepted are float32, float64, bfloat16 and float16",
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_constructors_refuse_what_no_call_could_serve(name):
    construct, error, sentence = CONSTRUCTIONS[name]
    with pytest.raises(error, match=re.escape(sentence)):
        construct()


def test_constructors_take_the_numbers_of_numpy_and_torch():
    stack = ResidualStack(
        np.int64(4),
        np.int32(3),
        torch.tensor(5),
        dilations=torch.tensor([1, 2]),
        residual_scale=np.float32(0.5),
    )
    assert stack.dilations == (1, 2) and stack.residual_scale == 0.5
    assert ResidualStack(4, 3, 5, dilations=np.array([1, 2])).dilations == (1, 2)
    assert stack(torch.zeros(1, 4, 3))[1].shape == (1, 5, 3)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_wrong_input_is_named_and_not_the_weight(kind):
    layer = LAYERS[kind]()
    accepted = "accepted is (B, R, T) = (any, 4, any)"
    for shape in ((2, 5, 9), (4, 9), (1, 2, 4, 9)):
        sentence = f"{type(layer).__name__}: x has shape {shape}; {accepted}"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            layer(torch.zeros(shape))
    sentence = f"{type(layer).__name__}: x is a numpy.ndarray and no tensor; {accepted}"
    with pytest.raises(TypeError, match=re.escape(sentence)):
        layer(np.zeros((2, 4, 9), np.float32))


def test_a_stream_names_a_wrong_input_too():
    stack = ResidualStack(4, 3, 5, dilations=(1,))
    with pytest.raises(ValueError, match=re.escape("ResidualStack: x has shape (1, 5, 9)")):
        stack.stream(torch.zeros(1, 5, 9), stack.initial_state(1))


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_made_where_and_as_they_are_asked_for(kind):
    make = LAYERS[kind]
    assert {p.dtype for p in make(dtype=torch.float64).parameters()} == {torch.float64}
    assert {p.device.type for p in make(device="meta").parameters()} == {"meta"}

    torch.manual_seed(0)
    expected = make().state_dict()
    with torch.device("meta"):
        layer = make()
    layer.to_empty(device="cpu")
    torch.manual_seed(0)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, expected[name])


def test_skip_init():
    skip_init = torch.nn.utils.skip_init
    for layer in (
        skip_init(CausalConv1d, 4, 6, 3, stride=2),
        skip_init(GatedConv1d, 4, 3, 2),
        skip_init(ResidualBlock, 4, 3, 5),
        skip_init(ResidualStack, 4, 3, 5, dilations=(1, 2), dtype=torch.float64),
    ):
        # The fixture of all tests makes uninitialised memory NaN: nothing was written.
        assert all(p.device.type == "cpu" and p.isnan().all() for p in layer.parameters())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("channels", "stride", "dilation"), [(1, 1, 1), (1, 3, 1), (1, 3, 2), (4, 1, 1), (4, 3, 2)]
)
def test_with_a_stride_as_without(channels, stride, dilation, compiled):
    """Lengths, empty signals and wrong channels, in every way that is taken to the outputs."""
    conv = CausalConv1d(channels, 6, 3, stride=stride, dilation=dilation)
    torch._dynamo.reset()  # it counts compilations by code, of which all layers have the same
    run = torch.compile(conv, fullgraph=True, dynamic=True, backend="eager") if compiled else conv
    for batch, time in ((2, 9), (2, 1), (2, 2), (2, 0), (0, 9), (0, 0)):
        x = torch.randn(batch, channels, time, requires_grad=True)
        y = run(x)
        assert y.shape == (batch, 6, -(-time // stride)) and y.requires_grad
        if batch * time > 0:
            full = reference.dilated_conv1d(x, conv.weight, conv.bias, dilation=dilation)
            torch.testing.assert_close(y, full[:, :, ::stride])
        y.sum().backward()
        assert x.grad.shape == x.shape
    run = torch.compile(conv, backend="eager") if compiled else conv
    for shape in ((2, channels + 1, 9), (2, channels + 1, 0), (channels, 9)):
        with pytest.raises(ValueError, match=re.escape(f"CausalConv1d: x has shape {shape}")):
            run(torch.zeros(shape))


@pytest.mark.parametrize("kind", LAYERS)
def test_symbolic_traces_compute_the_layer(kind):
    layer = LAYERS[kind]()
    traced = torch.fx.symbolic_trace(layer)
    for time in (9, 0, 5):
        x = torch.randn(2, 4, time)
        _assert_same(traced(x), layer(x))
        with torch.no_grad():
            _assert_same(traced(x), layer(x))
    x = torch.randn(2, 4, 9, requires_grad=True)
    gradients = []
    for run in (layer, traced):
        (gradient,) = torch.autograd.grad(sum(o.sum() for o in _tuple(run(x))), [x])
        gradients.append(gradient)
    assert torch.equal(*gradients)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "stack"])
def test_traces_of_examples_compute_the_layer(kind):
    layer = LAYERS[kind]()
    traced = torch.jit.trace(layer, (torch.randn(2, 4, 9),))
    x = torch.randn(3, 4, 14)
    _assert_same(traced(x), layer(x))
    with torch.no_grad():
        _assert_same(traced(x), layer(x))


def _tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _assert_same(got, expected):
    for ours, truth in zip(_tuple(got), _tuple(expected), strict=True):
        assert torch.equal(ours, truth)


def test_parts_are_there_as_attributes():
    code = (
        "import sys, wavenet_kernels as w; assert 'wavenet_kernels.nn' not in sys.modules; "
        "w.decompositions.decompositions(); w.nn.ResidualStack; w.calibration.forget; w.reference"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = wavenet_kernels.other
