"""Several processes as one: what only the main one does, what is summed over all, how they stop.

`torchrun` and `accelerate launch` say how many there are. Ctrl-C (SIGINT) and the scheduler's
SIGTERM ask for a stop: the step is finished, the run is saved.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor

from wavenet.errors import TrainingError

# The others wait while one process of each machine decodes the recordings for the first time.
PATIENCE = timedelta(hours=6)
DATA_PARALLEL = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_MLU")

# Asking the other processes waits for the device, so it isn't done after every step.
STEPS_BETWEEN_QUESTIONS = 8

T = TypeVar("T")


@contextlib.contextmanager
def processes(device: str) -> Iterator[Accelerator]:
    """Accelerate's view of this process among the others, for "auto" or "cpu".

    Its state is global to the process: it is dropped before and after, so that a process may train
    several times, with other settings.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    started = _started()
    # Accelerate joins processes on CPUs only where it is told that they are meant.
    no_device = not torch.accelerator.is_available()
    accelerator = Accelerator(
        cpu=device == "cpu" or (started > 1 and no_device),
        mixed_precision="no",  # the training step casts by itself, on CPUs too
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    try:
        kind = DistributedType(accelerator.distributed_type)
        if kind.value not in DATA_PARALLEL:
            raise TrainingError(
                f"accelerate is configured for {kind.value}; accepted is data parallel training: "
                "torchrun, or accelerate launch without a sharding plugin"
            )
        if accelerator.num_processes != started:
            raise TrainingError(
                f"WORLD_SIZE is {started}, but this process trains with "
                f"{accelerator.num_processes - 1} others; each would write the same run folder"
            )
        yield accelerator
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(reset_partial_state=True)


def _started() -> int:
    """How many processes there are, as their launcher says; one without a launcher.

    Raises:
        TrainingError: it doesn't say all that they need to find each other.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    absent = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if said != "1" and (not said.isdecimal() or absent):
        raise TrainingError(
            f"WORLD_SIZE is {said!r}, but {' and '.join(absent) or 'it'} is not set to what "
            "torchrun or accelerate launch would; start with one of them, or unset WORLD_SIZE"
        )
    return int(said)


def run_on_main(accelerator: Accelerator, action: Callable[[], None]) -> None:
    """Run `action` on the main process while the others wait; where it fails, all of them raise."""
    error: Exception | None = None
    if accelerator.is_main_process:
        try:
            action()
        except Exception as raised:
            error = raised
    if accelerator.num_processes > 1:
        said = [None if error is None else str(error)]
        broadcast_object_list(said)
        if said[0] is not None and error is None:
            error = TrainingError(said[0])
    if error is not None:
        raise error


def once_per_machine(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """`make` in one process of each machine, then, served by its cache, in the others."""
    made: list[T] = []
    error: Exception | None = None
    if accelerator.is_local_main_process:
        try:
            made.append(make())
        except Exception as raised:  # the others must not wait for it in vain
            error = raised
    accelerator.wait_for_everyone()
    if error is not None:
        raise error
    return made[0] if made else make()


def sum_over_processes(accelerator: Accelerator, values: Tensor) -> Tensor:
    """The sum over all processes of a float64 tensor on the CPU, the same bits in each of them."""
    if accelerator.num_processes == 1:
        return values
    # The mps device has no float64, but no second process either.
    summed: Tensor = accelerator.reduce(values.to(accelerator.device))
    return summed.cpu()


def max_over_processes(accelerator: Accelerator, value: int) -> int:
    """The largest of the processes' values."""
    if accelerator.num_processes == 1:
        return value
    values = torch.tensor([value], device=accelerator.device)
    return int(accelerator.gather(values).max())


class StopRequest:
    """Whether somebody wants training to stop."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.received = 0

    def signal(self, step: int, *, ask: bool = False) -> int:
        """The signal that any process has received, 0 if none has; the same answer in all.

        Args:
            step: the optimizer step, by which the processes agree when to ask one another.
            ask: do so in any case.
        """
        several = self.accelerator.num_processes > 1
        if several and not ask and step % STEPS_BETWEEN_QUESTIONS:
            return 0
        return max_over_processes(self.accelerator, self.received)


@contextlib.contextmanager
def stop_requests(accelerator: Accelerator) -> Iterator[StopRequest]:
    """Listen for the signals. A second one stops at once, without a checkpoint.

    Under torchrun there is no second one: it may pass on what the terminal has sent already.
    """
    request = StopRequest(accelerator)
    if threading.current_thread() is not threading.main_thread():
        yield request  # signals are the main thread's
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number: int, frame: FrameType | None) -> None:
        request.received = number
        if accelerator.num_processes == 1:
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, receive)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
