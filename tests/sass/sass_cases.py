"""What runs as machine code: the cases, and how a stream is compared.

`make test` runs a few that have everything between them; with WAVENET_SASS_ALL=1, as `make sass`
has it, all of them run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from executor import ExecutionError, Launched
from machine_code import Kernel
from numerics import assert_rule
from operator_cases import Case, stack_arguments

import wavenet_kernels
from wavenet_kernels import reference
from wavenet_kernels.nn import StackStream

Alter = Callable[[Kernel], Kernel]
ALL = "WAVENET_SASS_ALL" in os.environ


@dataclass(frozen=True)
class Run:
    """An operator on a case, forward and backward; "stream" is a stack that hears chunks."""

    operator: str
    case: Case
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.operator}-{self.case}-{str(self.dtype).removeprefix('torch.')}"


def runs(few: list[Run], operators: list[str], cases: list[Case]) -> list[Run]:
    """The few, or with them all cases: of residual stacks in all dtypes."""
    if not ALL:
        return few
    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    every = [
        Run(operator, case, dtype)
        for operator in operators
        for case in cases
        for dtype in (dtypes if operator == "residual_stack" else dtypes[:1])
        if operator != "stream" or case.padding == "causal"
    ]
    return few + [run for run in every if run not in few]


def check_stream(backend: str, case: Case, dtype: torch.dtype) -> None:
    """Chunks of several sizes are the whole."""
    x, *weights, cond = stack_arguments(case, dtype)
    settings = {"dilations": case.dilations, "residual_scale": case.scale}
    eager = torch.cat(reference.residual_stack(x, *weights, cond, **settings), 1).double()
    exact = (None if t is None else t.double() for t in (x, *weights, cond))
    truth = torch.cat(reference.residual_stack(*exact, **settings), 1)
    with wavenet_kernels.use_backend(backend), torch.no_grad():
        stream = StackStream(*weights, batch=case.batch, **settings)
        heard, start = [], 0
        while start < case.time:
            size = min((1, 5, 1, 33)[len(heard) % 4], case.time - start)
            part = cond if case.cond != "local" else cond[:, :, start : start + size]
            heard.append(torch.cat(stream(x[:, :, start : start + size], part), 1).clone())
            start += size
    assert_rule(torch.cat(heard, 2), truth, eager - truth, f"a stream on {backend}")


def find_missed(launched: Launched, forward: Callable[[Alter], None]) -> tuple[int, list[str]]:
    """Takes each wait and barrier that ran out of the machine code, one at a time.

    `forward` runs it with the kernel altered. Returns how many there are and those that nothing
    misses.
    """
    places = launched.places(r"^(@\S+ )?(DEPBAR|BAR\.SYNC|WARPGROUP\.DEPBAR)")
    missed = []
    for place in places:
        try:
            forward(lambda kernel, at=place: kernel.with_text(at, "MOV RZ, RZ"))
        except (AssertionError, RuntimeError, ExecutionError):
            continue
        missed.append(f"{16 * place:#x}: {launched.kernel.text[place]}")
    return len(places), missed


def swap_factors(launched: Launched) -> Alter:
    """The first product that ran with its factors exchanged; wgmma's first one from its sums."""
    place = (launched.places(r"\bHMMA") or launched.places("HGMMA"))[0]
    text = launched.kernel.text[place].replace(".reuse", "")
    d, a, b, c = re.findall(r"\bR(?:\d+|Z)|gdesc\[\w+\]", text)
    head, tail = text[: text.index(d)], text[text.rindex(c) + len(c) :]
    factors = f"{d}, {b}" if b.startswith("g") else f"{b}, {a}"
    return lambda kernel: kernel.with_text(place, f"{head}{d}, {factors}, {c}{tail}")
