"""Ctrl-C (SIGINT) and the scheduler's SIGTERM: finish the step, save, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from accelerate import Accelerator

from wavenet.classifier.training.processes import largest

# Asking the other processes waits for the device, so it isn't done after every step.
STEPS_BETWEEN_QUESTIONS = 8


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
        return largest(self.accelerator, self.received)


@contextmanager
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
