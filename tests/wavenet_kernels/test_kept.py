"""Memory of what a training step keeps: the next takes it over, none is shared, idle one goes."""

from __future__ import annotations

import gc
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

import wavenet_kernels
from wavenet_kernels import call, kept

LIKE = torch.empty(0)
MANY = kept.LEAST // LIKE.element_size()

pytestmark = pytest.mark.skipif(kept._SYSTEM_MAY_TAKE is None, reason="no MADV_FREE here")


@pytest.fixture(autouse=True)
def _no_free_blocks():
    gc.collect()
    kept.release()
    yield
    kept.release()


def free():
    """The blocks that are."""
    with kept._lock:
        kept._settle()
    return kept._free


def test_the_next_one_takes_it_over():
    first = kept.empty(LIKE, (2, MANY))
    address = first.data_ptr()
    assert first.shape == (2, MANY) and first.is_contiguous() and first.dtype == torch.float32
    assert address % (2 << 20) == 0
    part = first[1]
    del first
    assert not free()  # a view is still there
    del part
    second = kept.empty(LIKE, (2 * MANY - 5,))
    assert second.data_ptr() == address and not free()
    third = kept.empty(LIKE, (2 * MANY,))
    assert third.data_ptr() != address
    second.fill_(2)
    third.fill_(3)
    assert (second == 2).all() and (third == 3).all()


@pytest.mark.parametrize("wanted", [2 * MANY, MANY], ids=["too-small", "far-too-large"])
def test_one_that_does_not_fit_is_left_alone(wanted):
    block = kept.empty(LIKE, (3 * MANY // 2,))
    address = block.data_ptr()
    del block
    other = kept.empty(LIKE, (wanted,))
    assert other.data_ptr() != address and len(free()) == 1


def test_the_smallest_that_fits():
    sizes = [MANY * 5 // 4, MANY * 9 // 8, MANY * 7 // 6]
    blocks = [kept.empty(LIKE, (size,)) for size in sizes]
    address = blocks[1].data_ptr()
    blocks.clear()
    assert kept.empty(LIKE, (MANY + 1,)).data_ptr() == address


@pytest.mark.parametrize("number", [kept.MOST_IDLE + 1, 10 * kept.MOST_IDLE])
def test_idle_ones_go_while_others_are_taken_again_and_again(number):
    block = kept.empty(LIKE, (MANY,))
    del block
    large = kept.empty(LIKE, (8 * MANY,))
    del large
    for _ in range(number):
        kept.empty(LIKE, (MANY,))
    assert [block.size for block in free()] == [kept.LEAST]


def test_no_more_is_free_than_was_in_use():
    """Lengths that never come again."""
    kept.peak(reset=True)
    for number in range(40):
        blocks = [kept.empty(LIKE, (MANY + number * MANY // 3,)) for _ in range(3)]
        blocks.clear()
        assert kept._bytes_of(free()) <= kept.peak(reset=False)


def test_memory_that_the_system_may_not_take_is_given_back(monkeypatch):
    """Locked memory, for instance."""
    monkeypatch.setattr(kept, "_SYSTEM_MAY_TAKE", 10_000)
    for _ in range(3):
        kept.empty(LIKE, (MANY,))
    assert not free() and not kept._in_use


def test_where_there_is_no_memory_torch_says_so(monkeypatch):
    idle = kept.empty(LIKE, (8 * MANY,))
    del idle
    monkeypatch.setattr(kept.mmap, "mmap", mock.Mock(side_effect=OSError(12, "no memory")))
    assert kept.empty(LIKE, (MANY,)).shape == (MANY,)
    assert not free()
    with pytest.raises(RuntimeError, match="memory"):
        kept.empty(LIKE, (2**55,))


def test_collected_in_the_middle_of_a_step():
    """The garbage collector may free blocks while they are counted."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(300):
            cycle = [kept.empty(LIKE, (MANY,))]
            cycle.append(cycle)
            del cycle
            assert not kept.holds(LIKE) and kept.peak(reset=False) >= kept.LEAST
    finally:
        gc.set_threshold(*before)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=30))
def test_nothing_is_shared(requests):
    """Tensors of any sizes that come and go: each holds what was written to it."""
    held = []
    for number, (twentieths, drop) in enumerate(requests):
        tensor = kept.empty(LIKE, (MANY + twentieths * MANY // 20,))
        tensor[:: MANY // 8] = number
        held.append((number, tensor))
        if drop:
            del held[len(held) // 2]
    for number, tensor in held:
        assert (tensor[:: MANY // 8] == number).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    tensor = kept.empty(torch.empty(0, dtype=dtype), (MANY, 2))
    assert tensor.dtype == dtype and tensor.shape == (MANY, 2)


def test_what_is_small_or_has_no_memory_is_torchs():
    kept.empty(LIKE, (MANY - 1,))
    with FakeTensorMode() as mode:
        kept.empty(mode.from_tensor(LIKE), (MANY,))
    assert kept.empty(torch.empty(0, device="meta"), (MANY,)).device.type == "meta"
    assert not free()


def test_a_training_step_takes_the_last_ones_and_two_at_a_time_do_not_meet():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 64, 9_000, generator=generator)
    weights = [
        torch.randn(shape, generator=generator, requires_grad=True)
        for shape in ((4, 128, 64, 2), (4, 128), (4, 128, 64), (4, 128))
    ]

    def forward():
        return wavenet_kernels.residual_stack(x, *weights, dilations=(1, 2, 4, 8), keep="gates")

    def gradients(outputs):
        return torch.autograd.grad([o.sum() for o in outputs], weights)

    with wavenet_kernels.use_backend("cpu"):
        alone = [gradients(forward()) for _ in range(2)]
        blocks = len(free())
        first, second = forward(), forward()
        together = [gradients(first), gradients(second)]
        del first, second
    assert blocks == 2  # inputs of layers, and gates
    assert len(free()) == 2 * blocks
    for got in (alone[1], *together):
        assert all(torch.equal(a, b) for a, b in zip(alone[0], got, strict=True))


def test_the_peak_is_of_what_is_in_use():
    kept.peak(reset=True)
    before = kept.peak(reset=True)
    blocks = [kept.empty(LIKE, (MANY,)) for _ in range(3)]
    del blocks[0]
    assert kept.peak(reset=True) - before == 3 * kept.LEAST
    assert kept.peak(reset=False) - before == 2 * kept.LEAST


@pytest.mark.parametrize("time", [2**17, 2**18], ids=["32-MB", "64-MB"])
def test_very_large_outputs_of_training_are_such_tensors(time):
    x = torch.randn(1, 2, time, requires_grad=True)
    weight = torch.randn(64, 2, 1, requires_grad=True)
    with wavenet_kernels.use_backend("cpu"):
        y = wavenet_kernels.dilated_conv1d(x, weight)
        with torch.no_grad():
            heard = wavenet_kernels.dilated_conv1d(x.detach(), weight)
    assert kept.holds(y) == (time == 2**18) and not kept.holds(heard)
    assert torch.equal(y, heard)


@pytest.mark.parametrize("asked", ["stack", "conditioning"])
def test_the_next_step_takes_over_such_outputs(asked, monkeypatch):
    """Of a stack whenever it keeps something for backward, else of inputs with gradients."""
    monkeypatch.setattr(call, "_large_in_blocks", kept.empty)
    if asked == "stack":
        x = torch.randn(1, 64, 32_000)
        weights = [torch.randn(s, requires_grad=True) for s in ((2, 128, 64, 2), (2, 128, 64))]

        def outputs():
            conv, out = weights
            return wavenet_kernels.residual_stack(x, conv, None, out, None, dilations=(1, 2))
    else:
        a = torch.randn(1, 128, 32_000)
        cond = torch.randn(1, 128, 1, requires_grad=True)

        def outputs():
            return (wavenet_kernels.gated_activation(a, cond),)

    with wavenet_kernels.use_backend("cpu"):
        blocks = []
        for _ in range(3):
            made = outputs()
            assert all(kept.holds(output) for output in made)
            del made
            blocks.append({block.address for block in free()})
    assert blocks[0] == blocks[1] == blocks[2]
