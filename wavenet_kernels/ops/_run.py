"""What lies between an operator and a backend, once for all of both.

Outputs and gradients are allocated here, calls without elements answered, dilations and negations
brought to what backends expect, a stack's checkpoint segments computed again, layers that don't
convolve what they pass on computed one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from wavenet_kernels import backends
from wavenet_kernels.backends.contract import Again, Backend, Passes
from wavenet_kernels.calibration import choice
from wavenet_kernels.call import Call, Gradients, Outputs, astuple
from wavenet_kernels.forked import in_forked_child, single_threaded_in_child
from wavenet_kernels.ops._heard import LayerByLayer, without_residuals


def forward(call: Call, backend: str, *, saving: bool = False) -> tuple[Outputs, Again | None]:
    """Compute a checked call's outputs; `saving`: what its backward needs too.

    And what computes more such calls, into outputs like these.
    """
    outputs = call.empty_outputs(saving=saving)
    present, again = outputs.present(), None
    if _is_empty(call):
        _fill_with_zeros(outputs.y, outputs.residual, outputs.skip, outputs.saved)
    elif present.y is not None or present.residual is not None or present.skip is not None:
        # Below autograd only a stack is told whether a backward pass follows.
        step = saving or call.operator != "residual_stack"
        call = call.as_stack().within_time().resolved()
        with _computing(call, backend, "forward", step=step) as chosen:
            again = _passes(chosen, call).forward(call, present)
        again = _lasting(again, call, backend, step=step)
    elif outputs.saved is not None:
        _fill_with_zeros(outputs.saved, outputs.gates)  # nothing depends on them
    return outputs, again


def backward(
    call: Call, gradients: Outputs, wanted: Sequence[bool], backend: str
) -> tuple[Gradients, Again | None]:
    """Compute the gradients of a checked call's tensors, those that are wanted, field by field.

    And what computes more such calls, into gradients like these.
    """
    computed, again = call.empty_gradients(wanted), None
    gradients = gradients.present()
    nothing = gradients.y is None and gradients.residual is None and gradients.skip is None
    if nothing or _is_empty(call):
        _fill_with_zeros(*astuple(computed), computed.step)
        return computed, None
    call = call.as_stack().within_time().resolved()
    gradients = replace(
        gradients,
        y=_resolved(gradients.y),
        residual=_resolved(gradients.residual),
        skip=_resolved(gradients.skip),
    )
    with _computing(call, backend, "backward", step=True) as chosen:
        passes = _passes(chosen, call)
        if call.settings.checkpoint_every == 1:
            again = passes.backward(call, gradients, computed)
        else:
            _backward_by_segments(passes, call, gradients, computed)
    return computed, _lasting(again, call, backend, step=True)


def stream(call: Call, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Compute a chunk of a stream: residual, skip sum, new state."""
    state = call.state
    assert state is not None
    if _is_empty(call):
        outputs = call.empty_outputs()
        _fill_with_zeros(outputs.residual, outputs.skip)
        assert outputs.residual is not None and outputs.skip is not None
        return outputs.residual, outputs.skip, state.clone()
    call = call.resolved()
    with _computing(call, backend, "forward", step=False) as chosen:
        going_on = chosen.stream(call.as_stream_from_nothing())
        going_on.load_state(state.resolve_neg())
        residual, skip = going_on.step(call.tensors.x, call.tensors.cond)
        return residual, skip, going_on.state()


def _lasting(again: Again | None, call: Call, backend: str, *, step: bool) -> Again | None:
    """What was prepared, if more such calls are this backend's, and computed to the same bits."""
    if again is None or call.settings.residual_scale == 0:
        return None  # scales 0 and -0 are equal and give zeros of other signs
    return again if choice.is_settled(call, backend, step=step) else None


def _passes(backend: Backend, call: Call) -> Passes:
    """The call's, on the backend that was chosen for it."""
    return backend if call.heard is None else LayerByLayer(backend)


def _backward_by_segments(
    passes: Passes, call: Call, gradients: Outputs, computed: Gradients
) -> None:
    """Segment by segment, last one first; each starts with a layer whose input was saved."""
    x, every = call.tensors.x, call.settings.checkpoint_every
    saved, grad = gradients.saved, gradients.residual
    assert saved is not None
    layers, sizes = len(call.settings.dilations), call.sizes
    for first in reversed(range(0, layers, every)):
        last = min(first + every, layers)
        start = saved[first // every - 1].transpose(1, 2) if first else x
        inputs = x.new_empty(last - first - 1, sizes.B, sizes.T, sizes.R)
        if len(inputs):
            before = call.layers(first, last - 1, start, last_residual=True)
            known = Outputs(residual=inputs[-1].transpose(1, 2), saved=inputs[:-1])
            passes.forward(before, known)
        segment = call.layers(first, last, start, last_residual=grad is not None)
        part = computed.layers(first, last, sizes)
        if first:
            part = replace(part, x=torch.empty_like(start))
        passes.backward(segment, Outputs(residual=grad, skip=gradients.skip, saved=inputs), part)
        grad = part.x


def _computing(
    call: Call, backend: str, direction: str, *, step: bool
) -> AbstractContextManager[Backend]:
    """The backend for the call, in the state that backends compute in.

    Nobody casts: dtypes have been chosen by now, in a backward by its forward.
    """
    seen = call if call.heard is None else without_residuals(call)
    chosen = choice.choose(seen, backend, step=step)
    device = call.tensors.x.device.type
    casts = torch.is_autocast_enabled(device)
    if not (casts or backends.watchers or in_forked_child()):
        return nullcontext(chosen)  # as nearly always: a stack of none takes its time
    around: list[AbstractContextManager[object]] = [single_threaded_in_child()]
    if casts:
        around.append(torch.autocast(device, enabled=False))
    around += [watcher(call, direction) for watcher in backends.watchers]
    return _inside(around, chosen)


@contextmanager
def _inside(around: list[AbstractContextManager[object]], chosen: Backend) -> Iterator[Backend]:
    with ExitStack() as stack:
        for manager in around:
            stack.enter_context(manager)
        yield chosen


def _is_empty(call: Call) -> bool:
    batch, _, time = call.tensors.x.shape
    return batch == 0 or time == 0


def _fill_with_zeros(*tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None:
            tensor.zero_()


def _resolved(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.resolve_neg()
