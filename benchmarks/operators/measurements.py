"""What is measured, by name; each is a module with `measure(options)`, which yields rows in groups.

A row is one contender's figures, or why it has none; its keys say what they are in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.operators import first_call, overhead, scaling, single, stack, streaming
from benchmarks.operators.options import Options
from benchmarks.reporting.rows import Row

Measure = Callable[[Options], Iterator[list[Row]]]

MEASUREMENTS: dict[str, Measure] = {
    "stack": stack.measure,
    "streaming": streaming.measure,
    "scaling": scaling.measure,
    "overhead": overhead.measure,
    "operators": single.measure,
    "first-call": first_call.measure,
}
