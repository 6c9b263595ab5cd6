"""What the Triton kernels move by their own tiling, counted in the interpreter, over the least that
any kernel of a layer could: 2R + 2S elements a row forward, 3R + S backward.

Each program's loads and stores of activations are counted once an address: what a program reads
twice it finds in its L1, what two programs read both pay for. Weights (57 KB, for all programs) and
the rings of `layer_gradient_kernel` (3 MB for 132 programs) stay in L2 and are left out; sums of
weight gradients are put in as they are at the reference workload's size.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("counted in Triton's interpreter", allow_module_level=True)

from operator_cases import tensor
from triton.runtime.interpreter import InterpreterBuilder

from wavenet_kernels.backends.triton import passes, stack
from wavenet_kernels.backends.triton.launcher import Launcher, current_launcher, use_launcher
from wavenet_kernels.call import Call, Settings, Tensors
from wavenet_kernels.rows import channels_last, empty_rows

pytestmark = pytest.mark.slow

R = D = 64
S, K, BYTES = 128, 2, 2
BATCH, TIME, PROCESSORS = 32, 16_000, 132  # the reference workload on an H100 or H200


class FourProcessors(Launcher):
    """Few, for there are few tiles here."""

    def processors(self, device: torch.device) -> int:
        return 4


class _Counter:
    """Distinct addresses that each program loads, and stores, within some tensors."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self.ranges = [(t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in tensors]
        self.touched: dict[tuple[str, tuple[int, ...]], list[np.ndarray]] = {}

    def count(self) -> int:
        return sum(np.unique(np.concatenate(all_of)).size for all_of in self.touched.values())

    def add(self, what: str, program: tuple[int, ...], pointers: np.ndarray) -> None:
        for low, high in self.ranges:
            inside = pointers[(pointers >= low) & (pointers < high)]
            self.touched.setdefault((what, program), []).append(inside)


def _counted(counter: _Counter):
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def counting_load(self, ptrs, mask, *rest):
        counter.add("load", self.grid_idx, ptrs.data[mask.data])
        return load(self, ptrs, mask, *rest)

    def counting_store(self, ptrs, value, mask, *rest):
        counter.add("store", self.grid_idx, ptrs.data[mask.data])
        return store(self, ptrs, value, mask, *rest)

    return mock.patch.multiple(
        InterpreterBuilder, create_masked_load=counting_load, create_masked_store=counting_store
    )


def _layer(dilation: int) -> passes.PackedLayer:
    weights = [
        tensor(1, 2 * D, R, K, seed=1, dtype=torch.bfloat16),
        tensor(1, 2 * D, seed=2, dtype=torch.bfloat16),
        tensor(1, R + S, D, seed=3, dtype=torch.bfloat16),
        tensor(1, R + S, seed=4, dtype=torch.bfloat16),
    ]
    x = torch.empty(1, R, 1, dtype=torch.bfloat16)
    call = Call("residual_stack", Tensors(x, *weights), Settings(dilations=(dilation,)))
    return stack.pack_layers(call)[0]


def _rows(channels: int, time: int, seed: int) -> torch.Tensor:
    return channels_last(tensor(1, channels, time, seed=seed, dtype=torch.bfloat16))


@pytest.mark.parametrize("dilation", [1, 512])
def test_forward_moves_little_more_than_it_must(dilation):
    time = 2048
    x, skip = _rows(R, time, 5), _rows(S, time, 6)
    residual = empty_rows(x, 1, R, time)
    counter = _Counter(x, skip, residual)
    with _counted(counter):
        passes.forward(_layer(dilation), x, residual=residual, skip=skip, accumulate_skip=True)
    ratio = counter.count() / ((2 * R + 2 * S) * time)
    print(f"forward, dilation {dilation}: {ratio:.3f} of the least")
    assert 1 <= ratio <= 1.3


@pytest.mark.parametrize("dilation", [1, 512])
def test_backward_moves_little_more_than_it_must(dilation):
    time = 4096
    x, gr, gs = _rows(R, time, 5), _rows(R, time, 6), _rows(S, time, 7)
    grad_x = empty_rows(x, 1, R, time)
    layer = _layer(dilation)
    assert passes.can_fuse_backward(layer, x)
    counter = _Counter(x, gr, gs, grad_x)
    with _counted(counter), use_launcher(FourProcessors()):
        passes.fused_backward(layer, x, gr, gs, grad_x, None)
    least = (3 * R + S) * BYTES
    activations = counter.count() * BYTES / time
    # The sum of gr, for the bias, is taken by torch: it reads gr once more.
    activations += R * BYTES
    # Written in float32 and read again by the sums: each program's, and a tile's sums of ga.
    block_t = current_launcher().configure("layer_gradient", x, **layer.sizes)["BLOCK_T"]
    sums = 2 * 4 * PROCESSORS * (2 * D * K * R + (R + S) * D) / (BATCH * TIME)
    sums += 2 * 4 * 2 * D / block_t
    ratio = (activations + sums) / least
    print(f"backward, dilation {dilation}: {ratio:.3f} of the least")
    assert 1 <= ratio <= 1.6
