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

_COUNTER = "torch.utils.flop_counter"

# A tensor as the formulas get it.
_Shape = Sequence[int]


def _convolution(x: _Shape, weight: _Shape) -> int:
    """x (B, R, T), weight (C, R, K)."""
    return 2 * x[0] * x[2] * weight[-3] * weight[-2] * weight[-1]


def _layers(x: _Shape, conv_weight: _Shape, out_weight: _Shape) -> int:
    """Of all layers; weights with or without a leading L."""
    layers = conv_weight[0] if len(conv_weight) == 4 else 1
    outputs = 2 * x[0] * x[2] * out_weight[-2] * out_weight[-1]
    return layers * (_convolution(x, conv_weight) + outputs)


def _absent_residual(x: _Shape, out_weight: _Shape, last_residual: bool) -> int:
    """What a stack without its last residual leaves out."""
    return 0 if last_residual else 2 * x[0] * x[2] * x[1] * out_weight[-1]


def _nothing(*args: Any, **kwargs: Any) -> int:
    return 0


def _of_convolution(x: _Shape, weight: _Shape, *args: Any, **kwargs: Any) -> int:
    return _convolution(x, weight)


def _of_convolution_backward(
    grad: _Shape, x: _Shape, weight: _Shape, *args: Any, **kwargs: Any
) -> int:
    *_, output_mask, _backend = args
    return (output_mask[0] + output_mask[1]) * _convolution(x, weight)


def _of_block(
    x: _Shape, conv_weight: _Shape, conv_bias: Any, out_weight: _Shape, *args: Any, **kwargs: Any
) -> int:
    return _layers(x, conv_weight, out_weight)


def _of_block_backward(
    grad_residual: _Shape,
    grad_skip: _Shape,
    x: _Shape,
    conv_weight: _Shape,
    conv_bias: Any,
    out_weight: _Shape,
    *args: Any,
    **kwargs: Any,
) -> int:
    *_, output_mask, _backend = args
    return _backward(x, conv_weight, out_weight, output_mask)


def _of_stack(
    x: _Shape, conv_weight: _Shape, conv_bias: Any, out_weight: _Shape, *args: Any, **kwargs: Any
) -> int:
    last_residual = args[5]  # after out_bias, cond, dilations, padding, residual_scale
    return _layers(x, conv_weight, out_weight) - _absent_residual(x, out_weight, last_residual)


def _of_stack_backward(
    grad_residual: _Shape,
    grad_skip: _Shape,
    x: _Shape,
    saved: _Shape,
    conv_weight: _Shape,
    conv_bias: Any,
    out_weight: _Shape,
    *args: Any,
    **kwargs: Any,
) -> int:
    *_, last_residual, _checkpoint_every, output_mask, _backend = args
    absent = (1 + output_mask[3]) * _absent_residual(x, out_weight, last_residual)
    return _backward(x, conv_weight, out_weight, output_mask) - absent


def _of_stream(
    x: _Shape,
    state: _Shape,
    conv_weight: _Shape,
    conv_bias: Any,
    out_weight: _Shape,
    *args: Any,
    **kwargs: Any,
) -> int:
    return _layers(x, conv_weight, out_weight)


def _backward(
    x: _Shape, conv_weight: _Shape, out_weight: _Shape, output_mask: Sequence[bool]
) -> int:
    """output_mask: of x, conv_weight, conv_bias, out_weight, out_bias, cond."""
    layers = conv_weight[0] if len(conv_weight) == 4 else 1
    convolutions = layers * _convolution(x, conv_weight)
    outputs = _layers(x, conv_weight, out_weight) - convolutions
    # The first layer's input may want no gradient; the others' inputs do.
    inputs = convolutions if output_mask[0] else convolutions - convolutions // layers
    return inputs + output_mask[1] * convolutions + (1 + output_mask[3]) * outputs


_FORMULAS: dict[str, Callable[..., int]] = {
    "gated_activation": _nothing,
    "gated_activation_backward": _nothing,
    "dilated_conv1d": _of_convolution,
    "dilated_conv1d_backward": _of_convolution_backward,
    "gated_conv1d": _of_convolution,
    "gated_conv1d_backward": _of_convolution_backward,
    "residual_block": _of_block,
    "residual_block_backward": _of_block_backward,
    "residual_stack": _of_stack,
    "residual_stack_backward": _of_stack_backward,
    "residual_stack_stream": _of_stream,
}


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
    for operator, formula in _FORMULAS.items():
        counter.register_flop_formula(getattr(torch.ops.wavenet_kernels, operator))(formula)


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
