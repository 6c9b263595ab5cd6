"""The C library's stacks are the streams of wavenet_kernels, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_classifiers import small, write

from benchmarks.compiled.c_library import Refused, Stack
from wavenet.errors import DataError
from wavenet.networks.runtime import stack_file
from wavenet_kernels.nn import QuantizedStackStream, ResidualStack, StackStream

pytestmark = pytest.mark.slow  # the library is compiled first


def stack_of(**options: object) -> ResidualStack:
    torch.manual_seed(1)
    return ResidualStack(12, 20, 9, dilations=(1, 3, 9, 300), kernel_size=3, **options)


@pytest.mark.parametrize("weights, stream", [("float32", StackStream), ("int8", None)])
def test_the_same_bits_as_in_python(library, tmp_path, weights, stream):
    stack = stack_of(residual_scale=0.7)
    path = tmp_path / "model.wavenet"
    path.write_bytes(stack_file(stack, weights))
    tensors = stack.conv_weight, stack.conv_bias, stack.out_weight, stack.out_bias
    streamed = (stream or QuantizedStackStream)(
        *tensors, dilations=stack.dilations, residual_scale=stack.residual_scale
    )
    ours, x = Stack(library, path), torch.randn(1, 12, 700)
    for _ in range(2):
        for part in x.split([1, 99, 600], dim=2):
            skip = streamed(part)
            skip = skip if weights == "int8" else skip[1]
            made = ours.push(part[0].t().numpy())
            assert np.array_equal(made, skip[0].t().numpy())
        ours.reset(), streamed.reset()


def test_what_is_no_causal_stack_with_a_skip_is_refused(library, tmp_path):
    for stack in (stack_of(padding="same"), ResidualStack(4, 4, 0, dilations=(1,))):
        with pytest.raises(DataError, match="accepted is a causal one with a skip"):
            stack_file(stack)
    with pytest.raises(DataError, match="accepted of a stack are float32 and int8"):
        stack_file(stack_of(), "bfloat16")
    with pytest.raises(Refused, match="model is no stack"):
        Stack(library, write(small(), tmp_path))
