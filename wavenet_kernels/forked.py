"""A child of fork has not the threads that OpenMP in its parent believes to have.

Whatever torch does on several threads, copies of large tensors too, would wait for them forever.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

_in_child = False


def _note() -> None:
    global _in_child
    _in_child = True


os.register_at_fork(after_in_child=_note)


def in_forked_child() -> bool:
    """Whether this process is a child of fork, and nothing more."""
    return _in_child


def single_threaded_in_child() -> contextlib.AbstractContextManager[None]:
    """Torch works on one thread inside, if this is a child of fork; else nothing is changed."""
    return _single_threaded() if _in_child else contextlib.nullcontext()


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
