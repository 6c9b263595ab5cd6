"""Takes barriers and waits out of machine code, one at a time: a mistake must be found without it.

mutations = Mutations()
with launches_taken_over(arch, mutations.take):
    ...                       # what this computes is not right any more
mutations.survivors()
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import executor
from executor import ExecutionError, Launch

_SYNCHRONISES = re.compile(r"^(@\S+ )?(BAR\.SYNC|DEPBAR|WARPGROUP\.DEPBAR)")


@dataclass
class Mutations:
    """What has been noticed so far: one launch is enough."""

    # By name of kernel and place: the instruction, and whether a mistake was found without it.
    noticed: dict[tuple[str, int], tuple[str, bool]] = field(default_factory=dict)

    def take(self, launch: Launch) -> None:
        """Does the launch, and does it again without each of them that was executed."""
        kernel = launch.load()
        sizes = launch.grid, launch.threads, launch.shared_bytes, launch.parameters
        for place, times in enumerate(executor.run(kernel, *sizes)):
            text, found = self.noticed.get((kernel.name, place), (kernel.text[place], False))
            if not times or found or not (match := _SYNCHRONISES.match(text)):
                continue
            if (guard := match[1]) and not self._holds(launch, place, guard):
                continue
            try:
                executor.run(kernel.with_text(place, "MOV RZ, RZ"), *sizes)
            except ExecutionError:
                found = True
            self.noticed[kernel.name, place] = text, found

    @staticmethod
    def _holds(launch: Launch, place: int, guard: str) -> bool:
        """Whether any thread does what stands there: an access outside of memory would be found."""
        kernel = launch.load().with_text(place, f"{guard}LDS RZ, [RZ+0xffff00]")
        sizes = launch.grid, launch.threads, launch.shared_bytes, launch.parameters
        try:
            executor.run(kernel, *sizes)
        except ExecutionError:
            return True
        return False

    def survivors(self) -> dict[str, list[str]]:
        """By name of kernel, those that nothing noticed."""
        missed: dict[str, list[str]] = {}
        for (name, place), (text, found) in self.noticed.items():
            if not found:
                missed.setdefault(name, []).append(f"{16 * place:#06x}: {text}")
        return missed
