"""What `torch.utils.flop_counter.FlopCounterMode` counts for the operators.

Matrix products alone, as torch counts its own: those of the same layers in eager PyTorch. What a
backend computes again in backward, or saves by a fast convolution, is its own affair.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

from wavenet_kernels.call import Call
from wavenet_kernels.ops._register import OPERATORS, Operator

_COUNTER = "torch.utils.flop_counter"


def _products(call: Call) -> tuple[int, int]:
    """Of a call's convolutions, and of its 1x1s; those of one layer for each of the layers."""
    tensors, sizes = call.tensors, call.sizes
    if tensors.conv_weight is None:
        return 0, 0
    rows = 2 * sizes.B * sizes.T
    outputs = 0 if tensors.out_weight is None else rows * tensors.out_weight.numel()
    if not call.settings.last_residual:
        outputs -= rows * sizes.R * sizes.D
    return rows * tensors.conv_weight.numel(), outputs


def _forward(operator: Operator) -> Callable[..., int]:
    def formula(*args: Any, **kwargs: Any) -> int:
        return sum(_products(operator.call(args[:-1])))

    return formula


def _backward(operator: Operator) -> Callable[..., int]:
    def formula(*args: Any, **kwargs: Any) -> int:
        *arguments, output_mask, _ = args
        call = operator.call(arguments[-len(operator.names) :])
        wanted = dict(zip(operator.tensors, output_mask, strict=True))
        convolutions, outputs = _products(call)
        # The first layer's input may want no gradient; the others' inputs do.
        inputs = convolutions
        if not wanted.get("x", True):
            inputs -= convolutions // len(call.settings.dilations)
        weights = wanted.get("conv_weight", wanted.get("weight", False)) * convolutions
        return inputs + weights + (1 + wanted.get("out_weight", False)) * outputs

    return formula


def register_formulas() -> None:
    """Tell torch's counter, once it is there; the operators have to be registered by then.

    Not at once, as importing the counter imports Triton, which takes longer than all of this
    package and looks at the environment when it is imported.
    """
    if _COUNTER in sys.modules:
        _register(sys.modules[_COUNTER])
    else:
        sys.meta_path.insert(0, _WhenImported())


def _register(counter: ModuleType) -> None:
    registered = torch.ops.wavenet_kernels
    for name, operator in OPERATORS.items():
        for variant in (name, f"{name}_saving", f"{name}_backward"):
            if hasattr(registered, variant):
                formula = _backward if variant.endswith("_backward") else _forward
                target = getattr(registered, variant)
                counter.register_flop_formula(target, get_raw=True)(formula(operator))


class _WhenImported(MetaPathFinder):
    """Registers the formulas right after the counter's import, by whoever imports it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
