"""The operators as PyTorch's own, for models that go where this package is not.

`torch.export` keeps a registered operator as one node of its graph. ONNX, and a program that loads
the graph without importing `wavenet_kernels`, don't know such a node; this takes it apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from wavenet_kernels import ops
from wavenet_kernels.ops._invoke import plain


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
        table[getattr(torch.ops.wavenet_kernels, name).default] = plain(name)
    return table
