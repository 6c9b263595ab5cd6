"""Memory of a training step, for activations' gradients and what its backward pass goes on from.

The next step takes it over. The C library gives large blocks back to the system, which hands every
step new pages, filled with zeros: 41 MB of small ones take 15 ms, and large ones up to 90 where
memory has to be moved to make them (Zen 5, a virtual machine). Meanwhile the system may take what
lies in such a block (`madvise(2)`, MADV_FREE), so that none is missing elsewhere.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 4 << 20  # bytes
MOST_IDLE = 64  # blocks that are taken before one that none of them fits into goes

_LARGE_PAGE = 2 << 20
_PLAIN = (Tensor, torch.nn.Parameter)  # nothing that only pretends to have memory
_SYSTEM_MAY_TAKE = getattr(mmap, "MADV_FREE", None)  # Linux and macOS


class _Block:
    """Memory that begins with a large page, and how many blocks were taken since it was free."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle = 0
        self._memory = mmap.mmap(-1, size + _LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._first = -begin % _LARGE_PAGE
        self.address = begin + self._first

    def bytes(self, size: int) -> ctypes.Array[ctypes.c_char]:
        """The first ones. When nothing refers to them any more the block is free."""
        view = (ctypes.c_char * size).from_buffer(self._memory, self._first)
        weakref.finalize(view, self._give_back).atexit = False
        _in_use.add(self)
        return view

    def _give_back(self) -> None:
        assert _SYSTEM_MAY_TAKE is not None
        self._memory.madvise(_SYSTEM_MAY_TAKE)
        self.idle = 0
        _in_use.discard(self)
        _free.append(self)


_free: list[_Block] = []
_in_use: set[_Block] = set()
_peak = 0


def empty(like: Tensor, shape: Sequence[int], strides: Sequence[int] | None = None) -> Tensor:
    """An uninitialised tensor without gaps, of the dtype and on the device of `like`.

    Args:
        strides: None: contiguous.
    """
    size = math.prod(shape) * like.element_size()
    if size < LEAST or not like.is_cpu or type(like) not in _PLAIN or _SYSTEM_MAY_TAKE is None:
        return like.new_empty(shape) if strides is None else like.new_empty_strided(shape, strides)
    memory = (_taken(size) or _Block(size)).bytes(size)
    global _peak
    _peak = max(_peak, _bytes_in_use())
    storage = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    if strides is None:
        strides = torch.empty(shape, device="meta").stride()
    return like.new_empty(0).set_(storage, 0, shape, strides)  # no view of another tensor


def holds(tensor: Tensor) -> bool:
    """Whether it is one that `empty` made in a block."""
    return tensor.data_ptr() in {block.address for block in tuple(_in_use)}


def peak(reset: bool) -> int:
    """The most bytes in use at one time since the last reset; torch knows of none of them."""
    global _peak
    most = _peak
    if reset:
        _peak = _bytes_in_use()
    return most


def release() -> None:
    """Give blocks that are free back to the system."""
    _free.clear()


def _bytes_in_use() -> int:
    return sum(block.size for block in tuple(_in_use))


def _taken(size: int) -> _Block | None:
    """The smallest free block for so many bytes, unless a quarter of it would be left over."""
    for block in list(_free):
        block.idle += 1
    fitting = [block for block in list(_free) if size <= block.size <= size + size // 4]
    for block in sorted(fitting, key=lambda block: block.size):
        if _removed(block):
            return block
    for block in list(_free):
        if block.idle > MOST_IDLE:
            _removed(block)
    return None


def _removed(block: _Block) -> bool:
    """Whether it was free; another thread may have taken it, or tensors may go at any time."""
    try:
        _free.remove(block)
    except ValueError:
        return False
    return True
