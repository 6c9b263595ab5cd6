"""Memory of a training step: activations' gradients, large outputs, what backward goes on from.

The next step takes it over. The C library gives large blocks back to the system, which hands every
step new pages, filled with zeros: 41 MB of small ones take 14 ms, and large ones 92 where memory
has to be moved to make them (Zen 5, a virtual machine). Meanwhile the system may take what
lies in such a block (`madvise(2)`, MADV_FREE), so that none is missing elsewhere.
"""

from __future__ import annotations

import collections
import ctypes
import math
import mmap
import os
import threading
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 4 << 20  # bytes
MOST_IDLE = 64  # a block that was free while so many were taken is given back

_LARGE_PAGE = 2 << 20
PLAIN = (Tensor, torch.nn.Parameter)  # nothing that only pretends to have memory
_SYSTEM_MAY_TAKE = getattr(mmap, "MADV_FREE", None)  # Linux and macOS


class _Block:
    """Memory from a large page's boundary on; `idle`: blocks taken since it was free."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle = 0
        self._memory = mmap.mmap(-1, size + _LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._first = -begin % _LARGE_PAGE
        self.address = begin + self._first

    def bytes(self, size: int) -> ctypes.Array[ctypes.c_char]:
        """Its first bytes. When nothing refers to them any more the block is free."""
        view = (ctypes.c_char * size).from_buffer(self._memory, self._first)
        weakref.finalize(view, _returned.append, self).atexit = False
        return view

    def offer(self) -> bool:
        """Let the system take what lies in it; False: it may not, or is too old for it."""
        assert _SYSTEM_MAY_TAKE is not None
        try:
            self._memory.madvise(_SYSTEM_MAY_TAKE)
        except OSError:  # memory that is locked, for instance
            return False
        self.idle = 0
        return True


# Blocks come back at any time, in any thread, in the middle of anything (the garbage collector
# frees tensors, too): to a queue of which nothing else is told. The rest is changed under the lock.
_returned: collections.deque[_Block] = collections.deque()
_lock = threading.RLock()
_free: list[_Block] = []
_in_use: list[_Block] = []
_peak = 0


def _unlock() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_unlock)


def empty(
    like: Tensor,
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
    *,
    least: int = LEAST,
) -> Tensor:
    """An uninitialised tensor without gaps, of the dtype and on the device of `like`.

    Its storage can't be resized where it is a block.

    Args:
        strides: None: contiguous.
        least: bytes from which on it is a block.
    """
    # What only pretends to have memory may be of any size.
    if type(like) in PLAIN and like.is_cpu and _SYSTEM_MAY_TAKE is not None:
        size = math.prod(shape) * like.element_size()
        memory = _memory(size) if size >= least else None
        if memory is not None:
            storage = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
            if strides is None:
                strides = torch.empty(shape, device="meta").stride()
            return like.new_empty(0).set_(storage, 0, shape, strides)  # no view of another tensor
    return like.new_empty(shape) if strides is None else like.new_empty_strided(shape, strides)


def holds(tensor: Tensor) -> bool:
    """Whether it is one that `empty` made in a block."""
    with _lock:
        return tensor.data_ptr() in [block.address for block in _in_use]


def peak(reset: bool) -> int:
    """The most bytes in use at one time since the last reset; torch knows of none of them."""
    global _peak
    with _lock:
        _settle()
        most = _peak
        if reset:
            _peak = _bytes_of(_in_use)
        return most


def release() -> None:
    """Give blocks that are free back to the system."""
    with _lock:
        _settle()
        _free.clear()


def _memory(size: int) -> ctypes.Array[ctypes.c_char] | None:
    """None: there is not so much."""
    global _peak
    with _lock:
        _settle()
        try:
            block = _taken(size) or _Block(size)
        except OSError:
            _free.clear()
            return None
        _in_use.append(block)
        _peak = max(_peak, _bytes_of(_in_use))
        _free.sort(key=lambda free: free.idle)
        while _free and _bytes_of(_free + _in_use) > _peak:  # of sizes that don't come again
            _free.pop()
        return block.bytes(size)


def _settle() -> None:
    """Blocks that came back are free."""
    while _returned:
        block = _returned.popleft()
        _in_use.remove(block)
        if block.offer():
            _free.append(block)


def _taken(size: int) -> _Block | None:
    """The smallest free block for so many bytes, unless a quarter of it would be left over."""
    for block in _free:
        block.idle += 1
    _free[:] = [block for block in _free if block.idle <= MOST_IDLE]
    fitting = [block for block in _free if size <= block.size <= size + size // 4]
    if not fitting:
        return None
    smallest = min(fitting, key=lambda block: block.size)
    _free.remove(smallest)
    return smallest


def _bytes_of(blocks: list[_Block]) -> int:
    return sum(block.size for block in blocks)
