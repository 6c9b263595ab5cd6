"""Who computes a call now: what every call of "auto" passes through.

A call of a shape that came before costs a look into a dictionary. The first of a kind is looked up
among what is frozen and what is remembered, or measured, if now is a time for that; else the
shipped rule decides, until it is.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wavenet_kernels import backends, forked
from wavenet_kernels.call import TENSORS, Call

if TYPE_CHECKING:
    from wavenet_kernels.backends.contract import Backend
    from wavenet_kernels.calibration.decide import Decision

MODES = ("off", "read", "on")

# Seconds that measuring may take unasked: for one kind of call, and in all of a process.
KIND_SECONDS = {"cpu": 0.1, "gpu": 20.0}
PROCESS_SECONDS = {"cpu": 1.0, "gpu": 60.0}
MOST_SHAPES = 10_000  # that are remembered by their exact sizes, some hundred bytes each
SPARE_BYTES = 1 << 30  # that stay free on a device beside what measuring takes, for a child

_tensors = attrgetter(*TENSORS)
_threads, _precision = torch.get_num_threads, torch._C._get_float32_matmul_precision

_chosen: dict[tuple[Any, ...], Backend] = {}  # for good
_era = object()  # another one whenever what was chosen for good no longer holds
_waiting: dict[tuple[Any, ...], Backend] = {}  # until it may be measured
_in_force: dict[str, Decision] = {}  # by hash: what was looked up or decided in this process
_frozen: dict[str, list[Decision]] | None = None  # by family
_nothing_known: bool | None = None  # None: to be found out
_recorded: list[tuple[Call, bool]] | None = None
_measuring = threading.Lock()
_spent = {"cpu": 0.0, "gpu": 0.0}


def choose(call: Call, name: str, *, step: bool) -> Backend:
    """The named backend, or of "auto" the one that was decided on for calls like this one.

    Args:
        call: as backends are given it.
        name: of a backend, or "auto".
        step: a backward pass may follow, or this is it: one decision for both.

    Raises:
        BackendUnavailableError: it doesn't serve the call, or none does.
        ValueError: WAVENET_KERNELS_CALIBRATE is none of off, read and on.
    """
    if name != "auto":
        return backends.choose(call, name)
    key = _key(call, step)
    try:
        return _chosen[key]
    except KeyError:
        return _look_up(call, key, step=step)


def is_settled(call: Call, name: str, *, step: bool) -> bool:
    """Whether `choose` returns the same for such calls as long as `circumstances` are the same."""
    return name != "auto" or _key(call, step) in _chosen


def circumstances() -> tuple[object, ...]:
    """What choices depend on beside the call."""
    return _era, _threads(), _precision()


def _key(call: Call, step: bool) -> tuple[Any, ...]:
    """All of the kind, exact sizes in place of their bucket."""
    tensors, settings = call.tensors, call.settings
    x, cond = tensors.x, tensors.cond
    conv_weight, out_weight = tensors.conv_weight, tensors.out_weight
    # Field by field: microseconds count here (`python -m benchmarks calibration`).
    return (
        call.operator,
        step,
        x.dtype,
        x.device,
        x.shape,
        conv_weight is None or conv_weight.shape,
        tensors.conv_bias is None,
        out_weight is None or out_weight.shape,
        tensors.out_bias is None,
        cond is None or cond.shape,
        settings.dilations,
        settings.padding,
        settings.residual_scale,
        settings.last_residual,
        settings.checkpoint_every,
        settings.keep,
        _threads(),
        _precision(),
    )


def mode(device: torch.device) -> str:
    """What WAVENET_KERNELS_CALIBRATE says; unset, "on" for a GPU and "read" for a CPU.

    A CPU's shipped rule was measured and is rarely beaten, while measuring on a busy one could
    make two runs differ; there it is asked for.
    """
    return mode_named() or ("on" if _class_of(device) == "gpu" else "read")


def mode_named() -> str:
    """What WAVENET_KERNELS_CALIBRATE says; "" where it is not set."""
    named = os.environ.get("WAVENET_KERNELS_CALIBRATE", "")
    if named and named not in MODES:
        raise ValueError(f"WAVENET_KERNELS_CALIBRATE is {named!r}; accepted are {MODES}")
    return named


def obstacle(call: Call, *, step: bool) -> str | None:
    """Why nothing may be measured at this moment, or None."""
    x = call.tensors.x
    if torch.are_deterministic_algorithms_enabled():
        return "deterministic algorithms are asked for"
    if x.dtype == torch.float64:
        return "float64 is what the others are measured against"
    if not all(
        t is None or type(t) in (Tensor, torch.nn.Parameter) for t in _tensors(call.tensors)
    ):
        return "the tensors are not plain ones"
    if torch._C._len_torch_dispatch_stack():
        return "somebody watches or replaces every operation"
    if torch.compiler.is_compiling():
        return "the call is traced"
    if capturing(x.device):
        return "a CUDA graph is captured"
    if torch._C._current_graph_task_id() != -1:
        return "a backward pass is under way"
    if forked.in_forked_child():
        return "this is a child of fork"
    if processes_in_step() > 1:
        return "several processes take a step together"
    kind = _class_of(x.device)
    if _spent[kind] >= PROCESS_SECONDS[kind]:
        return f"measuring has taken {_spent[kind]:.0f} s of this process"
    from wavenet_kernels.calibration.timing import bytes_needed

    free = free_bytes(x.device)
    if free < 2 * bytes_needed(call, step=step) + SPARE_BYTES:
        return f"only {free / 2**20:,.0f} MiB are free"
    return None


def capturing(device: torch.device) -> bool:
    """Whether what is launched there goes into a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def processes_in_step() -> int:
    """Processes of torch.distributed's default group; 1 where there is none."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def free_bytes(device: torch.device) -> int:
    """What can still be allocated there."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1 << 62  # a system that doesn't say


def freeze(decisions: Sequence[Decision] | None) -> None:
    """From now on these alone hold, each for all sizes that it is the nearest to; None: no longer.

    Whatever they don't speak of is decided by the shipped rule. Nothing is measured or looked up.
    """
    global _frozen
    _frozen = None
    if decisions is not None:
        _frozen = {}
        for decision in decisions:
            _frozen.setdefault(decision.key.family, []).append(decision)
    _start_over()


@contextlib.contextmanager
def recording() -> Iterator[list[tuple[Call, bool]]]:
    """The calls of "auto" inside, each kind and size once, with whether it is a step.

    Their tensors have sizes, dtypes and devices, and no data. They are computed by the rule.
    """
    global _recorded, _chosen, _era
    before = _recorded, _chosen, _era
    _recorded, _chosen, _era = [], {}, object()
    try:
        yield _recorded
    finally:
        _recorded, _chosen, _era = before


def put_in_force(decisions: Sequence[Decision]) -> None:
    """Look at these before the store."""
    _in_force.update((decision.hash, decision) for decision in decisions)
    _start_over()


def in_force() -> list[Decision]:
    """What was looked up or decided in this process, and what is frozen."""
    frozen = [decision for family in (_frozen or {}).values() for decision in family]
    return list({decision.hash: decision for decision in (*_in_force.values(), *frozen)}.values())


def forget() -> None:
    """Nothing is in force, frozen, or spent."""
    _in_force.clear()
    _spent.update(cpu=0.0, gpu=0.0)
    freeze(None)


def shadow(call: Call) -> Call:
    """A call with the tensors' sizes, dtypes and device, of a single element each."""
    tensors = call.tensors.map(lambda tensor: tensor.detach().new_empty(()).expand(tensor.shape))
    return Call(call.operator, tensors, call.settings)


def _start_over() -> None:
    global _nothing_known, _era
    _nothing_known, _era = None, object()
    _chosen.clear()
    _waiting.clear()


def _class_of(device: torch.device) -> str:
    from wavenet_kernels.calibration.keys import is_gpu

    return "gpu" if is_gpu(device) else "cpu"


def _look_up(call: Call, key: tuple[Any, ...], *, step: bool) -> Backend:
    device = call.tensors.x.device
    if len(_chosen) + len(_waiting) > MOST_SHAPES:
        _start_over()
    if call.operator == "residual_stack_stream":  # a chunk is little to measure by
        _chosen[key] = backends.choose(call, "auto")
        return _chosen[key]
    if _recorded is not None:
        _recorded.append((shadow(call), step))
        _chosen[key] = backends.choose(call, "auto")
        return _chosen[key]
    if _frozen is None:
        how = mode(device)
        if how == "on":
            reason = obstacle(call, step=step)
            if reason is not None and key in _waiting:
                return _waiting[key]
            if reason is None and _measuring.acquire(blocking=False):
                try:
                    _chosen[key] = _backend_of(_measured(call, step=step), call)
                    return _chosen[key]
                finally:
                    _measuring.release()
        elif how == "off" or nothing_is_known():
            _chosen[key] = backends.choose(call, "auto")
            return _chosen[key]
    decision = _known(call, step=step)
    backend = _backend_of(decision, call)
    final = decision is not None or _frozen is not None or how == "read"
    (_chosen if final else _waiting)[key] = backend
    return backend


def nothing_is_known() -> bool:
    """Whether no decision is in force or remembered."""
    from wavenet_kernels.calibration import store

    global _nothing_known
    if _nothing_known is None:  # a file system is asked once, not for every new length
        _nothing_known = not _in_force and store.is_empty()
    return _nothing_known


def _known(call: Call, *, step: bool) -> Decision | None:
    """From what is frozen, or else what is in force or remembered."""
    from wavenet_kernels.calibration.decide import remembered
    from wavenet_kernels.calibration.keys import Key, Kind

    key = Key.of(Kind.of(call, step=step), call.tensors.x.device)
    if _frozen is not None:
        bucket = key.kind.bucket
        family = _frozen.get(key.family, [])
        return min(
            family,
            key=lambda decision: (abs(decision.key.kind.bucket - bucket), decision.key.kind.bucket),
            default=None,
        )
    decision = _in_force.get(key.hash) or remembered(key)
    if decision is not None:
        _in_force[key.hash] = decision
    return decision


def _measured(call: Call, *, step: bool) -> Decision | None:
    """What is decided on for a call of a new kind; None if that fails, which is no reason to."""
    from wavenet_kernels.calibration.decide import decide

    kind, start = _class_of(call.tensors.x.device), time.monotonic()
    allowed = min(KIND_SECONDS[kind], PROCESS_SECONDS[kind] - _spent[kind])
    try:
        decision = decide(shadow(call), step=step, seconds=allowed)
    except Exception as error:
        warnings.warn(
            f"wavenet_kernels: {call.operator} could not be calibrated "
            f"({type(error).__name__}: {error}); the shipped rule chooses its backend",
            stacklevel=2,
        )
        return None
    finally:
        _spent[kind] += time.monotonic() - start
    _in_force[decision.hash] = decision
    return decision


def _backend_of(decision: Decision | None, call: Call) -> Backend:
    """That of the decision; the rule's where there is none, or it can't serve this very size."""
    if decision is not None:
        candidate = decision.candidate
        if backends.refusal(candidate.backend, call) is None:
            return candidate.loaded()
    return backends.choose(call, "auto")
