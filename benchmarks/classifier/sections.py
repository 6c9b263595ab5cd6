"""Where the time of a training step goes: a clock that hooks switch from section to section.

What is counted, of a step from asking for its batch to the end of its optimizer step:

- operators: inside what the registered `residual_stack` and its backward compute: the call of the
  backend, with the outputs that it allocates. The dispatcher, autograd's node and the contexts
  around that call are not in it. For a plain PyTorch stack, which has no such call: from its first
  operation to its last, forward, and backward with autograd.
- convolutions: the same of our other operators, wherever they are called: the head's. They are
  outside the stack, not outside our operators.
- data: drawing, loading, augmenting and moving the batch.
- stem: forward from the waveform to the stack's input, backward what comes after the stack.
- head: all after the stack, forward to the losses, and backward from them to the stack.
- optimizer: unscaling, clipping, the weights' update, their average.
- rest: everything else: seeds, schedule, metrics, autograd and Python around the stack.

A compiled model has no places for hooks: its stem and head are counted as rest. Every moment is
in one section, so that the sections' seconds sum to the step's. On a GPU the clock waits for the
device at every switch: such shares are those of a step without overlap.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from torch import Tensor

from wavenet.classifier.training.learner import Learner
from wavenet_kernels import backends
from wavenet_kernels.call import Call

SECTIONS = ("operators", "convolutions", "data", "stem", "head", "optimizer", "rest")

T = TypeVar("T")


class Clock:
    """Seconds by section; the time between two switches is that of the first one's section."""

    def __init__(
        self,
        wait: Callable[[], object] = lambda: None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.wait, self.now = wait, now
        self.seconds = dict.fromkeys(SECTIONS, 0.0)
        self.section, self.since = "rest", 0.0

    def start(self) -> None:
        """From zero, in the rest."""
        self.wait()
        self.seconds = dict.fromkeys(SECTIONS, 0.0)
        self.section, self.since = "rest", self.now()

    def enter(self, section: str) -> str:
        """Switch; the section that was under way is returned."""
        self.wait()
        before, now = self.section, self.now()
        self.seconds[before] += now - self.since
        self.section, self.since = section, now
        return before

    def drawn(self, parts: Iterable[T]) -> Iterator[T]:
        """The same items; the time that they take to come is the data's."""
        items = iter(parts)
        while True:
            before = self.enter("data")
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.enter(before)
            yield item


class ClockedLearner(Learner):
    """Switches a clock where no hook of the model does, when it has one."""

    clock: Clock | None = None

    def backward(self, loss: Tensor) -> None:
        if self.clock is not None and not self.settings.compile:
            self.clock.enter("head")
        super().backward(loss)

    def update(self) -> None:
        if self.clock is not None:
            self.clock.enter("optimizer")
        super().update()


@contextlib.contextmanager
def watched(learner: ClockedLearner, clock: Clock, stack: str = "rest") -> Iterator[None]:
    """Steps of the learner meanwhile switch the clock, which is started.

    Args:
        learner: its model runs in this thread, backward too, as on a CPU.
        clock: is switched.
        stack: the section of what the stack does besides the operators; "operators" if it has none.
    """
    model = learner.model
    undo = contextlib.ExitStack()

    def entering(section: str) -> Callable[..., None]:
        return lambda *_: void(clock.enter(section))

    def when_gradient(tensor: Tensor, section: str) -> None:
        if tensor.requires_grad:
            tensor.register_hook(entering(section))

    def before_stack(_: object, inputs: tuple[Tensor, ...]) -> None:
        clock.enter(stack)
        when_gradient(inputs[0], "stem")

    def after_stack(_: object, __: object, outputs: tuple[Tensor, Tensor]) -> None:
        clock.enter("head")
        when_gradient(outputs[1], stack)

    weights = list(model.stem.parameters())
    awaited: list[None] = []

    def after_weight(_: Tensor) -> None:
        """The last one's gradient ends backward."""
        awaited.append(None)
        if len(awaited) % len(weights) == 0:
            clock.enter("rest")

    @contextlib.contextmanager
    def counted(call: Call, direction: str) -> Iterator[None]:
        stack_is_called = call.operator == "residual_stack"
        before = clock.enter("operators" if stack_is_called else "convolutions")
        try:
            yield
        finally:
            clock.enter(before)

    with undo:
        backends.watchers.append(counted)
        undo.callback(backends.watchers.remove, counted)
        learner.clock = clock
        undo.callback(setattr, learner, "clock", None)
        if not learner.settings.compile:
            hooks = [
                model.stem.register_forward_pre_hook(entering("stem")),
                model.stack.register_forward_pre_hook(before_stack),
                model.stack.register_forward_hook(after_stack),
                learner.loss_of.register_forward_hook(entering("rest")),
                *(weight.register_post_accumulate_grad_hook(after_weight) for weight in weights),
            ]
            for hook in hooks:
                undo.callback(hook.remove)
        clock.start()
        yield
        clock.enter("rest")


def void(_: object) -> None:
    """A hook that returns something would replace what it sees."""
