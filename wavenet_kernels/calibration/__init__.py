"""What "auto" knows: kernels are verified and timed on the user's own device, once, and remembered.

The first call of a new kind on a GPU measures who computes it right and fastest (`decide`), and
every later one finds that in a dictionary (`choice`). WAVENET_KERNELS_CALIBRATE=off leaves all to
the shipped rule, read takes what was measured before, on measures; see docs/calibration.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wavenet_kernels.calibration import choice
from wavenet_kernels.calibration.choice import choose, freeze, mode
from wavenet_kernels.call import Call

if TYPE_CHECKING:
    from wavenet_kernels.calibration.decide import Decision

__all__ = [
    "calibrate",
    "choose",
    "decisions",
    "forget",
    "freeze",
    "frozen",
    "from_entries",
    "mode",
    "nothing_is_known",
    "settle",
    "where",
]


def calibrate(
    module_or_calls: nn.Module | Callable[[], object] | Sequence[tuple[Call, bool]],
    *,
    inputs: Sequence[Any] = (),
    group: Any = None,
    budget_s: float = 20.0,
    measure: bool | None = None,
) -> list[Decision]:
    """Find out now who computes these calls right and fastest, and use and remember it.

    Args:
        module_or_calls: a module, which is called with `inputs` once, without a backward pass; or
            a function without arguments; or the calls themselves, each with whether a backward
            pass belongs to it. Whatever our operators are called with under "auto" is calibrated,
            as a training step where gradients are enabled and wanted.
        inputs: of the module.
        group: a torch.distributed process group, whose every process calls this at the same point:
            the first of them measures, all use what it found, and from then on nothing else.
        budget_s: seconds, about; what would take longer is left to the shipped rule.
        measure: whether what is not remembered is measured. None: unless
            WAVENET_KERNELS_CALIBRATE says "read" or "off".

    Returns:
        A decision for each kind of call, measured now, remembered, or that of the shipped rule.

    Raises:
        TypeError: a module without inputs.
        RuntimeError: the processes of the group have different builds or devices.

    Example::

        wavenet_kernels.calibration.calibrate(model, inputs=(waveform,))
    """
    from wavenet_kernels.calibration import agreement
    from wavenet_kernels.calibration.decide import by_rule, decide, remembered
    from wavenet_kernels.calibration.keys import Key, Kind

    if isinstance(module_or_calls, nn.Module) and not inputs:
        raise TypeError("calibrate: inputs is empty; accepted are the module's arguments")

    def find_out() -> list[Decision]:
        found: dict[str, Decision] = {}
        deadline = time.monotonic() + budget_s
        for call, step in _calls_of(module_or_calls, inputs):
            key = Key.of(Kind.of(call, step=step), call.tensors.x.device)
            if key.hash in found:
                continue
            how = choice.mode_named() if measure is None else "on" if measure else "read"
            if how == "off":
                decision = by_rule(key, call, "calibration is off")
            elif how == "read" or call.tensors.x.dtype == torch.float64:
                decision = remembered(key) or by_rule(key, call, "nothing was measured")
            else:
                decision = decide(
                    choice.shadow(call), step=step, seconds=deadline - time.monotonic()
                )
            found[key.hash] = decision
        return list(found.values())

    if group is None:
        made = find_out()
    else:
        made = agreement.agree(find_out, group)
        freeze(made)
    choice.put_in_force(made)
    return made


def settle(find: Callable[[], list[Decision]], group: Any = None) -> list[Decision]:
    """What `find` returns; in a group, in its first process, which all others are told.

    Raises:
        RuntimeError: the processes of the group have different builds or devices.
    """
    from wavenet_kernels.calibration.agreement import agree

    return find() if group is None else agree(find, group)


def nothing_is_known() -> bool:
    """Whether no decision is in force or remembered, so that the shipped rule decides on all."""
    return choice.nothing_is_known()


def where(device: torch.device) -> dict[str, Any]:
    """The facts of a device and of the build, for which decisions hold."""
    from wavenet_kernels.calibration.keys import build, facts_of

    return {"device": facts_of(device), "build": build(device)}


def decisions() -> list[Decision]:
    """What is in force in this process, and what is remembered for this device and build."""
    from wavenet_kernels.calibration import store
    from wavenet_kernels.calibration.keys import build, facts_of

    found = {decision.hash: decision for decision in choice.in_force()}
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    here = [(facts_of(device), build(device)) for device in devices]
    for decision in from_entries(store.entries(store.DECISIONS)):
        if (decision.key.device, decision.key.build) in here:
            found.setdefault(decision.hash, decision)
    return [found[name] for name in sorted(found)]


def forget() -> None:
    """Everything that was measured, in this process and in the user's cache folder."""
    from wavenet_kernels.calibration import store

    store.forget()
    choice.forget()


@contextmanager
def frozen(made: Sequence[Decision]) -> Iterator[None]:
    """Inside, these decisions alone hold (`freeze`), as a training run's do from start to end."""
    freeze(made)
    try:
        yield
    finally:
        freeze(None)


def from_entries(entries: Sequence[Any]) -> list[Decision]:
    """Decisions from what their `as_entry` gave; what is none is left out."""
    from wavenet_kernels.calibration.decide import Decision

    made = []
    for entry in entries:
        try:
            made.append(Decision.from_entry(entry))
        except ValueError:
            continue
    return made


def _calls_of(
    made: Callable[..., object] | Sequence[tuple[Call, bool]], inputs: Sequence[Any]
) -> Sequence[tuple[Call, bool]]:
    """What is called, which leaves no trace in a module's buffers or in random numbers to come."""
    if not callable(made):
        return made
    buffers: list[tuple[Tensor, Tensor]] = []
    if isinstance(made, nn.Module):
        buffers = [(buffer, buffer.clone()) for buffer in made.buffers()]
    devices = {value.device for value in inputs if isinstance(value, Tensor)}
    gpus = [device for device in devices if device.type == "cuda"]
    with torch.random.fork_rng(gpus), choice.recording() as calls:
        made(*inputs)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return calls
