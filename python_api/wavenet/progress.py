"""How far something is: a bar in a terminal; elsewhere, in a log say, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

# Of lines: the first soon, for somebody who waits; then as many as a log of hours can bear.
SECONDS_TO_FIRST = 10.0
SECONDS_BETWEEN = 30.0


class Pace:
    """When the next line is due, and how long the rest takes at the speed so far.

    Args:
        done: what was there before; it took no time here.
        clock: seconds.
    """

    def __init__(self, done: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.before = done
        self.clock = clock
        self.started = clock()
        self.due_at = self.started + SECONDS_TO_FIRST

    def due(self) -> bool:
        """Whether a line is to be printed now; then the next one is not due for a while."""
        now = self.clock()
        if now < self.due_at:
            return False
        self.due_at = now + SECONDS_BETWEEN
        return True

    def left(self, done: float, total: float) -> str:
        """In words, such as "about 12 min left"; empty where it can't be said."""
        made = done - self.before
        if made <= 0 or done >= total:
            return ""
        return f"about {duration((self.clock() - self.started) * (total - done) / made)} left"


def duration(seconds: float) -> str:
    """A time as people say it: "40 s", "12 min", "3 h 5 min"."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress(
    console: Console, what: str, total: float | None = None
) -> Iterator[Callable[[float, float], None]]:
    """Gives what is to be called with (done, total), as often as one likes.

    Args:
        console: where it is shown.
        what: is being done, say "reading clips".
        total: if it is known before.
    """
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    pace = Pace()

    def line(done: float, total: float) -> None:
        if pace.due():
            left = pace.left(done, total)
            said = f"{what}: {done:,.0f} of {total:,.0f}{', ' if left else ''}{left}"
            console.print(said, highlight=False, markup=False)

    yield line
