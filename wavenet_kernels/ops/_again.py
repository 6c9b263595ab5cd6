"""Calls like one before it: they go to what that one's backend has prepared, and nothing else.

A call's own cost is in what is found out about it: whether its tensors fit, who computes it, where
its outputs lie. All that follows from its signature, so it is kept under that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from wavenet_kernels import backends, kept
from wavenet_kernels.backends.contract import Again
from wavenet_kernels.calibration import choice
from wavenet_kernels.forked import in_forked_child

Signature = tuple[Any, ...]
Repeat = Callable[[Sequence[Any]], Any]  # from a registered operator's arguments to its results

MOST = 1_000  # signatures that are kept, of about 2 kB each

_repeats: dict[Signature, Repeat] = {}


def computing(
    name: str, tensors: int, first: Callable[..., tuple[Any, Repeat | None]]
) -> Callable[..., Any]:
    """What computes a registered operator.

    Args:
        name: of the operator.
        tensors: how many of its arguments, the first ones, are tensors or None.
        first: computes a call that is like none before: the results, and what computes more such.
    """

    def compute(*arguments: Any) -> Any:
        signature = _signature(name, arguments, tensors)
        if signature is None:
            return first(*arguments)[0]
        repeat = _repeats.get(signature)
        if repeat is not None:
            return repeat(arguments)
        results, repeat = first(*arguments)
        if repeat is not None:
            if len(_repeats) >= MOST:
                _repeats.clear()
            _repeats[signature] = repeat
        return results

    return compute


def repeat(
    again: Again,
    given: Sequence[int | None],
    made: Sequence[Tensor | None],
    returned: Sequence[int | None],
) -> Repeat:
    """Allocates as many tensors like `made`, has them written, and returns some of them.

    Args:
        again: what a backend has prepared.
        given: which of the operator's arguments each of those is that it takes; None: absent.
        made: what it writes to.
        returned: which of `made` each result is; None: a tensor of no elements.
    """
    layouts: list[Any] = [None] * len(made)
    for index, tensor in enumerate(made):
        if tensor is not None:
            empty = kept.empty if kept.holds(tensor) else Tensor.new_empty_strided
            layouts[index] = empty, tensor.shape, tensor.stride()

    def compute(arguments: Sequence[Any]) -> Any:
        like = arguments[0]
        new = [
            None if layout is None else layout[0](like, layout[1], layout[2]) for layout in layouts
        ]
        again([None if index is None else arguments[index] for index in given], new)
        results = [like.new_empty(0) if index is None else new[index] for index in returned]
        return results[0] if len(results) == 1 else tuple(results)

    return compute


def _signature(name: str, arguments: Sequence[Any], tensors: int) -> Signature | None:
    """All that decides how a call is computed, but for data; None: every such call is looked at."""
    if backends.watchers or in_forked_child():
        return None
    parts: list[Any] = [name]
    for tensor in arguments[:tensors]:
        if tensor is None:
            parts.append(None)
        elif tensor.is_cpu:  # elsewhere nothing is prepared, and a device would belong to this
            # Whether a gradient is wanted says where a large output lies.
            parts += (tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad)
        else:
            return None
    parts += [tuple(part) if type(part) is list else part for part in arguments[tensors:]]
    return (*parts, choice.circumstances())
