"""Registers an operator with torch.library: implementation, fake, autograd, autocast.

A schema's arguments are the tensors and settings of a `Call`, by name, and the backend's name last.
What differs between operators is in the schema; everything else is made here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels.call import (
    GRADIENTS,
    STACKS,
    TENSORS,
    Call,
    Gradients,
    Outputs,
    astuple,
    field_of,
)
from wavenet_kernels.ops import _again, _run
from wavenet_kernels.ops._check import check

NAMESPACE = "wavenet_kernels"
try:
    _library = torch.library.Library(NAMESPACE, "DEF")
except RuntimeError as error:
    # The first import's operators can't be taken back: compiled graphs may hold them.
    raise ImportError(
        "wavenet_kernels was imported before and then deleted from sys.modules; PyTorch registers "
        "operators once in a process, so keep the module there, or start another process"
    ) from error
_operators = getattr(torch.ops, NAMESPACE)


class Operator:
    """A schema, "name(Tensor x, ..., str backend) -> ...", taken apart."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.name, _, rest = schema.partition("(")
        self.arguments, _, returns = rest.partition(") -> ")
        declared = [argument.split() for argument in self.arguments.split(", ")]
        self.names = [words[-1] for words in declared][:-1]  # all but the backend
        self.tensors = [words[-1] for words in declared if words[0].startswith("Tensor")]
        self.required = [words[-1] for words in declared if words[0] == "Tensor"]
        self.returns = returns.count("Tensor")
        self._fields = [field_of(name) for name in self.tensors]
        # Which of the tensors each field of `Tensors` is.
        self.positions = [
            self._fields.index(field) if field in self._fields else None for field in TENSORS
        ]
        # A single layer's weights have a leading L = 1 in a call.
        self._lifted = {"conv_weight", "conv_bias", "out_weight", "out_bias"}
        if self.name in STACKS:
            self._lifted = set()

    def call(self, arguments: Sequence[Any]) -> Call:
        """The arguments but the backend, as one value that has been checked."""
        call = Call.of(self.name, dict(zip(self.names, arguments, strict=True)))
        check(call)
        return call

    def wanted(self, output_mask: Sequence[bool]) -> list[bool]:
        """From the order of the operator's tensors to that of the fields of `Gradients`."""
        by_field = dict(zip(self._fields, output_mask, strict=True))
        return [by_field.get(field, False) for field in GRADIENTS]

    def gradients(self, computed: Gradients, like: Tensor) -> tuple[Tensor, ...]:
        """In the operator's order and shapes; of size (0,) where none was wanted."""
        results = []
        for field in self._fields:
            gradient = getattr(computed, field, None)  # what dropout kept has none
            if gradient is None:
                gradient = like.new_empty(0)
            elif field in self._lifted:
                gradient = gradient.squeeze(0)
            results.append(gradient)
        return tuple(results)


OPERATORS: dict[str, Operator] = {}  # the public ones, by name


def register(schema: str) -> None:
    """Register the schema, and "name_backward", of an operator that can be differentiated once.

    Of residual_stack also "residual_stack_saving", which returns what a backward needs beside the
    outputs: which of both a call is, is decided when it is computed, not when it is traced.
    """
    operator = Operator(schema)
    OPERATORS[operator.name] = operator
    implementation, fake = _computing(operator)
    _define(operator.schema, implementation, fake)
    _register_autocast(operator.name)
    _define_backward(operator)
    if operator.name == "residual_stack":
        saving = operator.schema.replace(operator.name, f"{operator.name}_saving", 1)
        saving = saving.replace("-> (Tensor, Tensor)", "-> (Tensor, Tensor, Tensor, Tensor)")
        computing = _computing(operator, saving=True)
        _define(saving, *computing)
        _register_autograd(operator, f"{operator.name}_saving", computing[0], saving=True)
        _saving_where_needed(operator, implementation)
    else:
        _register_autograd(operator, operator.name, implementation)


def register_stream(schema: str) -> None:
    """Register an operator with a state, for inference."""
    operator = Operator(schema)
    OPERATORS[operator.name] = operator

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        return _run.stream(operator.call(args[:-1]), args[-1])

    def fake(*args: Any) -> tuple[Tensor | None, ...]:
        call = operator.call(args[:-1])
        outputs = call.empty_outputs()
        assert call.state is not None
        return outputs.residual, outputs.skip, call.state.new_empty(call.state.shape)

    _define(operator.schema, implementation, fake)
    _refuse(operator.name, implementation, f"{operator.name} is for inference: its backward")
    _register_autocast(operator.name)


def _define(schema: str, implementation: Callable[..., Any], fake: Callable[..., Any]) -> None:
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)


def _computing(
    operator: Operator, *, saving: bool = False
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward: what computes, and what allocates only."""
    returned = [0] if operator.returns == 1 else [1, 2, 3, 4] if saving else [1, 2]

    def results(outputs: Outputs) -> Any:
        every = outputs.astuple()
        return every[0] if operator.returns == 1 else tuple(every[index] for index in returned)

    def first(*args: Any) -> tuple[Any, _again.Repeat | None]:
        outputs, again = _run.forward(operator.call(args[:-1]), args[-1], saving=saving)
        if again is None:
            return results(outputs), None
        made = outputs.astuple()
        return results(outputs), _again.repeat(again, operator.positions, made, returned)

    def fake(*args: Any) -> Any:
        return results(operator.call(args[:-1]).empty_outputs(saving=saving))

    name = operator.name + ("_saving" if saving else "")
    return _again.computing(name, len(operator.tensors), first), fake


# What a backward operator is given of each field of `Outputs`.
_GIVEN = ("grad", "grad_residual", "grad_skip", "saved", "gates")


def _define_backward(operator: Operator) -> None:
    given = ["grad"] if operator.returns == 1 else ["grad_residual", "grad_skip"]
    if operator.name == "residual_stack":
        given += ["saved", "gates"]
    settings = operator.arguments.removesuffix(", str backend")
    returns = ", ".join(["Tensor"] * len(operator.tensors))
    given_arguments = ", ".join(f"Tensor {name}" for name in given)
    name = f"{operator.name}_backward"

    def split(args: Sequence[Any]) -> tuple[Outputs, Call, list[bool]]:
        *rest, output_mask, _ = args
        values = dict(zip(given, rest, strict=False))
        gradients = Outputs(*map(values.get, _GIVEN))
        return gradients, operator.call(rest[len(given) :]), operator.wanted(output_mask)

    def first(*args: Any) -> tuple[tuple[Tensor, ...], _again.Repeat | None]:
        gradients, call, wanted = split(args)
        computed, again = _run.backward(call, gradients, wanted, args[-1])
        results = operator.gradients(computed, call.tensors.x)
        if again is None:
            return results, None
        made: list[Tensor | None] = [None] * len(TENSORS)
        returned: list[int | None] = [None] * len(results)
        for field, index in enumerate(operator.positions):
            if index is not None and astuple(computed)[field] is not None:
                made[field], returned[index] = results[index], field
        taken = [None if index is None else len(given) + index for index in operator.positions]
        taken += [given.index(name) if name in given else None for name in _GIVEN]
        return results, _again.repeat(again, taken, made, returned)

    def fake(*args: Any) -> tuple[Tensor, ...]:
        _, call, wanted = split(args)
        return operator.gradients(call.empty_gradients(wanted), call.tensors.x)

    implementation = _again.computing(name, len(given) + len(operator.tensors), first)
    _define(
        f"{name}({given_arguments}, {settings}, bool[] output_mask, str backend) -> ({returns})",
        implementation,
        fake,
    )
    _refuse(
        name, implementation, f"{operator.name} can be differentiated once: its double backward"
    )


def _register_autograd(
    operator: Operator, name: str, implementation: Callable[..., Any], *, saving: bool = False
) -> None:
    """Autograd of the registered operator `name`, which computes `operator`.

    As torch.library.register_autograd has it, without what that does for schemas unlike ours:
    microseconds of every call (benchmarks/NOTES.md).
    """
    tensors, results = len(operator.tensors), operator.returns
    backward_operator = f"{operator.name}_backward"
    shares_gradient = operator.name == "gated_activation"
    compute = _below_autograd(name, implementation)

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            *inputs, keys = args
            output = compute(keys, *inputs)
            ctx.settings, ctx.backend = inputs[tensors:-1], inputs[-1]
            outputs = (output,) if isinstance(output, Tensor) else output
            ctx.shapes = [part.shape for part in outputs[:results]]
            # Else autograd makes zeros as large as `saved` for its gradient; there is none of it.
            ctx.set_materialize_grads(False)
            kept = inputs[:tensors]
            if saving:
                ctx.mark_non_differentiable(*output[results:])
                kept += output[results:]
            ctx.save_for_backward(*kept)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            kept = ctx.saved_tensors
            given = [
                kept[0].new_zeros(shape) if grad is None else grad
                for grad, shape in zip(grads[:results], ctx.shapes, strict=True)
            ]
            if saving:
                given += kept[tensors:]
            mask = list(ctx.needs_input_grad[:tensors])
            needed = mask
            if shares_gradient:
                needed = [True, False]
            computed = getattr(_operators, backward_operator)(
                *given, *kept[:tensors], *ctx.settings, needed, ctx.backend
            )
            if shares_gradient:  # one tensor for both, where cond has all times
                cond = _gradient_of_cond(computed[0], kept[1]) if mask[1] else None
                computed = (computed[0], cond)
            wanted = [grad if need else None for grad, need in zip(computed, mask, strict=True)]
            return *wanted, *[None] * (len(ctx.settings) + 2)

    Differentiable.__name__ = Differentiable.__qualname__ = f"{NAMESPACE}_{name}"
    _register_under_autograd(name, compute, lambda keys, *args: Differentiable.apply(*args, keys))


def _register_under_autograd(
    name: str, compute: Callable[..., Any], differentiable: Callable[..., Any]
) -> None:
    """Under autograd an operator is `differentiable` where a gradient may be asked for."""

    def kernel(keys: Any, *args: Any) -> Any:
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*args):
            return differentiable(keys, *args)
        return compute(keys, *args)

    _library.impl(name, kernel, "Autograd", with_keyset=True)


_PLAIN = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU).add(torch._C.DispatchKey.ADInplaceOrView)


def _below_autograd(name: str, implementation: Callable[..., Any]) -> Callable[..., Any]:
    """The operator with what is left of its dispatch keys when autograd has had its turn."""
    overload = getattr(_operators, name).default

    def compute(keys: Any, *args: Any) -> Any:
        keys &= torch._C._after_autograd_keyset
        with torch._C._AutoDispatchBelowAutograd():
            if keys == _PLAIN:  # what the dispatcher would come to
                return implementation(*args)
            return overload.redispatch(keys, *args)

    return compute


def _gradient_of_cond(grad: Tensor, cond: Tensor) -> Tensor:
    return grad if cond.shape[2] == grad.shape[2] else grad.sum(2, keepdim=True)


def _saving_where_needed(operator: Operator, implementation: Callable[..., Any]) -> None:
    """The operator under autograd: what its backward needs is kept only if there will be one."""

    def saving(keys: Any, *args: Any) -> Any:
        return getattr(_operators, f"{operator.name}_saving")(*args)[: operator.returns]

    name = operator.name
    _register_under_autograd(name, _below_autograd(name, implementation), saving)


def _register_autocast(name: str) -> None:
    """The operator in the dtype that torch.autocast is set to, as torch does for convolutions."""

    def kernel_for(device: str) -> Callable[..., Any]:
        def cast(value: Any) -> Any:
            if isinstance(value, Tensor) and value.is_floating_point():
                # float64 is left alone, as everywhere in torch's autocast.
                if value.device.type == device and value.dtype != torch.float64:
                    return value.to(torch.get_autocast_dtype(device))
            return value

        def kernel(*args: Any) -> Any:
            arguments = [cast(value) for value in args]
            with torch.autocast(device, enabled=False):
                return getattr(_operators, name)(*arguments)

        return kernel

    for device in ("cpu", "cuda", "xpu"):
        _library.impl(name, kernel_for(device), f"Autocast{device.upper()}")


def _refuse(name: str, implementation: Callable[..., Any], what: str) -> None:
    """Differentiating the operator is refused with a sentence."""
    compute = _below_autograd(name, implementation)

    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            *inputs, keys = args
            return compute(keys, *inputs)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> None:
            raise NotImplementedError(
                f"{what} is not implemented; the function of that name in "
                "wavenet_kernels.reference is plain PyTorch and can be differentiated any number "
                "of times"
            )

    _register_under_autograd(name, compute, lambda keys, *args: Refusing.apply(*args, keys))
