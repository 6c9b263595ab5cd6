"""The modules: what they compute, how they start, what they say of themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from wavenet_kernels import reference
from wavenet_kernels.nn import CausalConv1d, GatedConv1d, ResidualBlock, ResidualStack


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
