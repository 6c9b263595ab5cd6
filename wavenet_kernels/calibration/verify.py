"""Whether a backend computes a kind of call right on this device, by the rule of `numerics`.

On seeded inputs of the call's channels and an awkward length: outputs, what is saved for a backward
and all gradients, against the float64 reference; the same bits a second time; every element
written, in memory that was NaN before.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from wavenet_kernels import reference
from wavenet_kernels.backends.contract import Backend
from wavenet_kernels.calibration.keys import Kind
from wavenet_kernels.call import TENSORS, Call, Outputs, Settings, astuple
from wavenet_kernels.numerics import cotangent, violation

ODD = 61  # a length is no multiple of any tile
LONGEST = 1200  # of the clips that are verified: a halo of 512 (K = 3) and some tiles

Results = dict[str, Tensor]


def wrong(backend: Backend, kind: Kind, device: torch.device, sizes: tuple[int, int]) -> str | None:
    """What the backend gets wrong in calls of this kind, or None; what it raises is an answer.

    The rule is checked on short clips. At `sizes`, B and T, everything must be written.
    """
    with _judging(kind):
        call = kind.call(2, length(kind), device)
        try:
            got = compute(backend, call, step=kind.step)
            again = compute(backend, call, step=kind.step)
        except Exception as error:
            return f"raised {type(error).__name__}: {error}"
        for name, value in got.items():
            if not torch.equal(value.nan_to_num(), again[name].nan_to_num()):
                return f"{name}: other bits the second time"
            if value.isnan().any():
                return f"{name}: elements that are NaN, or were not written"
        truths = _reference(call, torch.float64, step=kind.step)
        eager = _reference(call, call.tensors.x.dtype, step=kind.step)
        for name, value in got.items():
            eager_error = eager[name].double() - truths[name]
            if reason := violation(value, truths[name], eager_error):
                return f"{name}: {reason}"
    return wrong_at(backend, kind.call(*sizes, device), step=kind.step)


def wrong_at(backend: Backend, call: Call, *, step: bool) -> str | None:
    """What is wrong at a call's own size, as far as that is seen without a reference, or None.

    Raises:
        torch.OutOfMemoryError: that is not the backend's fault.
    """
    try:
        for name, value in compute(backend, call, step=step).items():
            if value.isnan().any():
                return f"{name}: elements that are NaN, or were not written, at the call's size"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return f"raised {type(error).__name__} at the call's size: {error}"
    return None


def length(kind: Kind) -> int:
    """Longer than the farthest tap, within reason, and a multiple of nothing."""
    taps = kind.shapes["conv_weight"][3] if "conv_weight" in kind.shapes else 1
    farthest = (int(taps) - 1) * max(kind.settings["dilations"], default=0)
    return min(2 * ODD + 1 + farthest, LONGEST + ODD)


def compute(backend: Backend, call: Call, *, step: bool) -> Results:
    """Outputs, and gradients if it is a step, of a backend that finds NaN where it is to write."""
    results, outputs = _forward(backend, call, saving=step)
    if not step:
        return results
    every = saving_every_input(call)
    if every is not call:
        outputs = _forward(backend, every, saving=True)[1]
    given = gradients_of(outputs)
    gradients = every.empty_gradients(wanted(call))
    _fill(*astuple(gradients))
    backend.backward(every, given, gradients)
    for name, gradient in zip(TENSORS, astuple(gradients), strict=True):
        if gradient is not None:
            results[f"gradient of {name}"] = gradient
    return results


def wanted(call: Call) -> list[bool]:
    """Every tensor's gradient; that of a gate's cond follows from x's and is not asked for."""
    return [call.operator != "gated_activation" or name == "x" for name in TENSORS]


def saving_every_input(call: Call) -> Call:
    """As a backward is given it, whatever was saved: with the inputs of all layers."""
    if call.settings.checkpoint_every == 1:
        return call
    return replace(call, settings=replace(call.settings, checkpoint_every=1))


def gradients_of(outputs: Outputs) -> Outputs:
    """Gradients of the outputs that there are, and what was saved."""
    y, residual, skip = (
        None if output is None else cotangent(output, index)
        for index, output in enumerate((outputs.y, outputs.residual, outputs.skip))
    )
    return Outputs(y, residual, skip, outputs.saved, outputs.gates)


def _forward(backend: Backend, call: Call, *, saving: bool) -> tuple[Results, Outputs]:
    outputs = call.empty_outputs(saving=saving and call.operator == "residual_stack").present()
    named = {
        "output": outputs.y,
        "residual": outputs.residual,
        "skip": outputs.skip,
        "saved": outputs.saved,
    }
    _fill(*named.values(), outputs.gates)
    backend.forward(call, outputs)
    return {name: value for name, value in named.items() if value is not None}, outputs


def _fill(*tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None:
            tensor.fill_(float("nan"))


def _reference(call: Call, dtype: torch.dtype, *, step: bool) -> Results:
    """What `compute` is to give, by `wavenet_kernels.reference` and autograd in this dtype."""
    tensors = call.tensors.map(lambda t: t.detach().to(dtype).requires_grad_(step))
    results, layers = _plain(Call(call.operator, tensors, call.settings))
    if not step:
        return {name: value.detach() for name, value in results.items()}
    if layers:
        every = call.settings.checkpoint_every
        saved = [x.transpose(1, 2) for x in layers[every::every]]
        batch, channels, time = tensors.x.shape
        empty = tensors.x.new_empty(0, batch, time, channels)
        results["saved"] = torch.stack(saved) if saved else empty
    names = ("output", "residual", "skip")
    loss = sum(
        (results[name] * cotangent(results[name], index)).sum()
        for index, name in enumerate(names)
        if name in results
    )
    asked = [
        (name, tensor)
        for name, tensor, want in zip(TENSORS, astuple(tensors), wanted(call), strict=True)
        if want and tensor is not None
    ]
    assert isinstance(loss, Tensor)
    found = torch.autograd.grad(
        loss, [tensor for _, tensor in asked], allow_unused=True, materialize_grads=True
    )
    gradients = zip(asked, found, strict=True)
    results |= {f"gradient of {name}": gradient for (name, _), gradient in gradients}
    return {name: value.detach() for name, value in results.items()}


def _plain(call: Call) -> tuple[Results, list[Tensor]]:
    """The outputs that there are, and the inputs of a stack's layers."""
    x, cond, settings = call.tensors.x, call.tensors.cond, call.settings
    if call.operator == "gated_activation":
        return {"output": reference.gated_activation(x, cond)}, []
    conv_weight, conv_bias, out_weight, out_bias = (
        [None] * len(settings.dilations) if weight is None else weight.unbind(0)
        for weight in call.tensors.weights()
    )
    if call.operator in ("dilated_conv1d", "gated_conv1d"):
        operator = getattr(reference, call.operator)
        more = () if call.operator == "dilated_conv1d" else (cond,)
        how = _how(operator, settings, settings.dilations[0])
        return {"output": operator(x, conv_weight[0], conv_bias[0], *more, **how)}, []
    block: Callable[..., tuple[Tensor, Tensor]] = reference.residual_block
    inputs: list[Tensor] = []
    skips: Tensor | float = 0.0
    parts = [None] * len(conv_weight) if cond is None else cond.chunk(len(conv_weight), dim=1)
    for layer, dilation in enumerate(settings.dilations):
        inputs.append(x)
        weights = (w[layer] for w in (conv_weight, conv_bias, out_weight, out_bias))
        how = _how(reference.residual_block, settings, dilation)
        x, skip = block(x, *weights, parts[layer], **how)
        skips = skips + skip
    assert isinstance(skips, Tensor)
    results = {"residual": x} if settings.last_residual else {}
    return results | ({"skip": skips} if skips.shape[1] else {}), inputs


def _how(operator: Callable[..., Any], settings: Settings, dilation: int) -> dict[str, Any]:
    """The settings that the reference's function of the operator has."""
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}
    known["dilation"] = dilation
    return {name: known[name] for name in inspect.signature(operator).parameters if name in known}


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever the caller's modes are, nobody casts, and nothing is an inference tensor."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextlib.contextmanager
def _judging(kind: Kind) -> Iterator[None]:
    """With gradients, and float32 convolutions that round as the kind's products may."""
    cudnn = torch.backends.cudnn
    tf32 = kind.precision not in ("", "highest")
    flags = cudnn.flags(cudnn.enabled, False, deterministic=cudnn.deterministic, allow_tf32=tf32)
    with undisturbed(), torch.enable_grad(), flags:
        yield
