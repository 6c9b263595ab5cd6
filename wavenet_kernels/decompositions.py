"""The operators as PyTorch's own, for models that go where this package is not.

`torch.export` keeps a registered operator as one node of its graph. ONNX, and a program that loads
the graph without importing `wavenet_kernels`, don't know such a node; this takes it apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from wavenet_kernels import ops, reference


def decompositions() -> dict[torch._ops.OperatorBase, Callable[..., Any]]:
    """A table for `ExportedProgram.run_decompositions`: torch's default one, and our operators.

    Ours become what `wavenet_kernels.reference` writes them as, in the forward direction.

    Example::

        program = torch.export.export(model, (waveform,))
        plain = program.run_decompositions(decompositions())
        torch.onnx.export(plain, (), "model.onnx", dynamo=True)
    """
    table: dict[torch._ops.OperatorBase, Callable[..., Any]] = {}
    table.update(torch.export.default_decompositions().items())
    for name in ops.__all__:
        operator = getattr(torch.ops.wavenet_kernels, name).default
        table[operator] = _plain(operator, getattr(reference, name))
    return table


def _plain(operator: torch._ops.OpOverload, function: Callable[..., Any]) -> Callable[..., Any]:
    names = [argument.name for argument in operator._schema.arguments]
    accepted = inspect.signature(function).parameters
    results = len(operator._schema.returns)

    def decomposed(*values: Any) -> Any:
        arguments = dict(zip(names, values, strict=True))
        outputs = function(**{name: arguments[name] for name in names if name in accepted})
        if results == 1:
            return outputs
        # What an operator returns beyond that is for its backward.
        spare = results - len(outputs)
        return (*outputs, *(values[0].new_empty(0) for _ in range(spare)))

    return decomposed
