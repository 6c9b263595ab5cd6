"""Arguments that don't fit: one sentence that names the argument, what came, what is accepted."""

from __future__ import annotations

import re

import pytest
import torch

import wavenet_kernels as wk

x = torch.zeros(2, 4, 7)
conv, conv_bias = torch.zeros(6, 4, 2), torch.zeros(6)
out, out_bias = torch.zeros(9, 3), torch.zeros(9)
stack = (x, conv.expand(2, -1, -1, -1), None, out.expand(2, -1, -1), None)
state = torch.zeros(2, 3, 4)

CASES = {
    "a of two dimensions": (
        lambda: wk.gated_activation(torch.zeros(4, 7)),
        ValueError,
        "gated_activation: a has shape (4, 7); accepted is (B, 2D, T) = (any, any, any)",
    ),
    "odd channels": (
        lambda: wk.gated_activation(torch.zeros(1, 3, 7)),
        ValueError,
        "gated_activation: a has 3 channels; accepted is an even number 2D",
    ),
    "cond of another batch": (
        lambda: wk.gated_activation(x, torch.zeros(1, 4, 7)),
        ValueError,
        "cond has shape (1, 4, 7); accepted is (2, 4, 7) or (2, 4, 1)",
    ),
    "integers": (
        lambda: wk.gated_activation(x.long()),
        TypeError,
        "a is torch.int64; accepted are float32, float64, bfloat16 and float16",
    ),
    "mixed dtypes": (
        lambda: wk.dilated_conv1d(x, conv.bfloat16()),
        TypeError,
        "weight is torch.bfloat16 but x is torch.float32",
    ),
    "mixed devices": (
        lambda: wk.dilated_conv1d(x, conv.to("meta")),
        ValueError,
        "weight is on meta but x is on cpu",
    ),
    "weight of other channels": (
        lambda: wk.dilated_conv1d(x, torch.zeros(6, 5, 2)),
        ValueError,
        "dilated_conv1d: weight has shape (6, 5, 2); accepted is (C, R, K) = (any, 4, any)",
    ),
    "bias of another size": (
        lambda: wk.gated_conv1d(x, conv, torch.zeros(5)),
        ValueError,
        "gated_conv1d: bias has shape (5,); accepted is (2D,) = (6)",
    ),
    "no taps": (
        lambda: wk.dilated_conv1d(x, torch.zeros(6, 4, 0)),
        ValueError,
        "the weight has 0 taps; accepted is 1 or more",
    ),
    "dilation zero": (
        lambda: wk.gated_conv1d(x, conv, dilation=0),
        ValueError,
        "gated_conv1d: dilation is 0; accepted is 1 or more",
    ),
    "unknown padding": (
        lambda: wk.gated_conv1d(x, conv, padding="valid"),
        ValueError,
        'padding is \'valid\'; accepted are "causal" and "same"',
    ),
    "same padding with even taps": (
        lambda: wk.gated_conv1d(x, conv, padding="same"),
        ValueError,
        'padding "same" needs an odd number of taps; the weight has 2',
    ),
    "no channels": (
        lambda: wk.dilated_conv1d(torch.zeros(1, 0, 5), torch.zeros(3, 0, 2)),
        ValueError,
        "R is 0 channels; accepted is 1 or more",
    ),
    "out_weight too small": (
        lambda: wk.residual_block(x, conv, None, out[:3], None),
        ValueError,
        "residual_block: out_weight makes 3 channels; accepted is R+S, at least R = 4",
    ),
    "out_bias of another size": (
        lambda: wk.residual_block(x, conv, conv_bias, out, out_bias[:8]),
        ValueError,
        "out_bias has shape (8,); accepted is (R+S,) = (9)",
    ),
    "no layers": (
        lambda: wk.residual_stack(*stack, dilations=()),
        ValueError,
        "residual_stack: dilations is empty; accepted is one int for each layer",
    ),
    "one dilation for a stack": (
        lambda: wk.residual_stack(*stack, dilations=2),
        TypeError,
        "residual_stack: dilations is 2; accepted is one int for each layer",
    ),
    "a dilation that is no int": (
        lambda: wk.residual_stack(*stack, dilations=(1, 2.0)),
        TypeError,
        "residual_stack: dilations is 2.0; accepted is an int",
    ),
    "a dilation in a tuple": (
        lambda: wk.dilated_conv1d(x, conv, dilation=(2,)),
        TypeError,
        "dilated_conv1d: dilation is (2,); accepted is an int",
    ),
    "a Conv1d's weight for the 1x1s": (
        lambda: wk.residual_block(x, conv, None, out.unsqueeze(-1), None),
        ValueError,
        "accepted is (R+S, D) = (any, 3); of a Conv1d with one tap that is weight.squeeze(-1)",
    ),
    "more dilations than layers": (
        lambda: wk.residual_stack(*stack, dilations=(1, 2, 4)),
        ValueError,
        "conv_weight has shape (2, 6, 4, 2); accepted is (L, 2D, R, K) with L dilations",
    ),
    "conditioning of one layer only": (
        lambda: wk.residual_stack(*stack, torch.zeros(2, 6, 7), dilations=(1, 2)),
        ValueError,
        "cond has shape (2, 6, 7); accepted is (2, 12, 7) or (2, 12, 1)",
    ),
    "checkpoint_every zero": (
        lambda: wk.residual_stack(*stack, dilations=(1, 2), checkpoint_every=0),
        ValueError,
        "residual_stack: checkpoint_every is 0; accepted is 1 or more",
    ),
    "keep what there is not": (
        lambda: wk.residual_stack(*stack, dilations=(1, 2), keep="all"),
        ValueError,
        'residual_stack: keep is \'all\'; accepted are "auto", "inputs" and "gates"',
    ),
    "gates of checkpoints": (
        lambda: wk.residual_stack(*stack, dilations=(1, 2), checkpoint_every=2, keep="gates"),
        ValueError,
        'residual_stack: keep is "gates" with checkpoint_every 2; accepted is 1, or "inputs"',
    ),
    "state of another length": (
        lambda: wk.residual_stack_stream(x, state, *stack[1:], dilations=(1, 4)),
        ValueError,
        "residual_stack_stream: state has shape (2, 3, 4); accepted is (B, H, R) = (2, 5, 4)",
    ),
    "a NumPy array": (
        lambda: wk.gated_activation(x.numpy()),
        TypeError,
        "gated_activation: a is a numpy.ndarray; accepted is a torch tensor",
    ),
    "no weight": (
        lambda: wk.residual_block(x, None, None, out, None),
        TypeError,
        "residual_block: conv_weight is None; accepted is a torch tensor",
    ),
    "a scale to be learnt": (
        lambda: wk.residual_stack(
            *stack, dilations=(1, 2), residual_scale=torch.nn.Parameter(torch.ones(()))
        ),
        TypeError,
        "residual_stack: residual_scale is a Parameter; accepted is a number",
    ),
    "state of another dtype": (
        lambda: wk.residual_stack_stream(x, state.double(), *stack[1:], dilations=(1, 2)),
        TypeError,
        "residual_stack_stream: state is torch.float64 but x is torch.float32",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sentence(name):
    call, error, sentence = CASES[name]
    with pytest.raises(error, match=re.escape(sentence)):
        call()
