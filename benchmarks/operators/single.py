"""Operators by themselves, a layer of the workload each.

Contiguous (B, C, T) tensors are what PyTorch has, rows (B, T, C) seen through `.transpose(1, 2)`
what our own operators return, and "cond" is conditioning of each time, contiguous as the signal is.
"auto" takes on a CPU, where nothing was measured, what this finds: that holds for the small sizes,
too, which are measured where no workload is named. Beside wall time there is processor time, of all
threads together, which other programs on a busy machine add little to: the least of all rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import wavenet_kernels
from benchmarks.operators.contenders import chosen
from benchmarks.operators.options import Options
from benchmarks.operators.workloads import Workload, parse
from benchmarks.reporting.rows import AGAIN, EAGER, Row, sentence
from benchmarks.timing import Run, circumstances, interleave, spread, timed
from wavenet_kernels import backends, reference
from wavenet_kernels.calibration import verify
from wavenet_kernels.calibration.keys import Kind
from wavenet_kernels.call import Call

OPERATORS = ("dilated_conv1d", "gated_conv1d", "residual_block", "gated_activation")
FORMS = ("contiguous", "rows", "cond")
PASSES = ("forward", "step")
SIZES = [
    f"R={R},S={R},K={K},L=1,T={T}" for R, K in ((8, 3), (25, 2), (64, 7)) for T in (1000, 16000)
]
ROUND_SECONDS = 0.005  # of consecutive calls
DILATION = 2

Arguments = dict[str, Any]


def measure(options: Options) -> Iterator[list[Row]]:
    """The rows of each operator and size."""
    workloads = options.stacks() if options.workloads else list(map(parse, SIZES))
    for workload in workloads:
        for operator in OPERATORS:
            for form in FORMS:
                if form != "cond" or operator != "dilated_conv1d":
                    yield measure_one(operator, form, workload, options)


def measure_one(operator: str, form: str, workload: Workload, options: Options) -> list[Row]:
    """Forward and training step of every contender, in turn; what is wrong gets no figure."""
    arguments = arguments_of(operator, form, workload, options)
    name_of_form = "" if form == FORMS[0] else f", {form}"
    runs: dict[Any, Run] = {}
    rows = []
    for name, function in contenders(operator, options).items():
        for what in [what for what in PASSES if what in options.passes]:
            row: Row = {"workload": f"{operator} {workload.sizes}{name_of_form}"}
            row.update({"sizes": workload.sizes, "operator": operator, "form": form})
            row.update({"contender": name, "pass": what})
            rows.append(row)
            one = Run(_pass(function, arguments, step=what == "step"))
            try:
                if name.startswith("ours "):
                    check(name.removeprefix("ours "), operator, arguments)
                timed(one, options.device)
                runs[name, what] = one.lasting(ROUND_SECONDS, options.device)
            except Exception as error:
                row["error"] = sentence(error)
    samples = interleave(runs, rounds=options.rounds, device=options.device)
    turns = [{key: processor_time(runs[key]) for key in runs} for _ in range(options.rounds)]
    least = {key: min(turn[key] for turn in turns) for key in runs}
    for row in rows:
        if "error" not in row:
            median, p10, p90 = spread(samples[row["contender"], row["pass"]])
            row.update(median_us=1e6 * median, p10_us=1e6 * p10, p90_us=1e6 * p90)
            mine = samples[row["contender"], row["pass"]]
            row.update(circumstances(mine, torch.get_num_threads()))
            if options.device == "cpu":
                row["processor_us"] = 1e6 * least[row["contender"], row["pass"]]
    eager = {row["pass"]: row.get("processor_us") for row in rows if row["contender"] == EAGER}
    for row in rows:
        if "processor_us" in row and eager.get(row["pass"]):
            row["processor_x_eager"] = eager[row["pass"]] / row["processor_us"]
    return rows


def processor_time(run: Run) -> float:
    """Seconds of all threads, a call."""
    start = time.process_time()
    for _ in range(run.calls):
        run.run(None)
    return (time.process_time() - start) / run.calls


def contenders(operator: str, options: Options) -> dict[str, Callable[..., Any]]:
    """Eager PyTorch, and the operator on every backend that serves it."""
    plain = getattr(reference, operator)
    every: dict[str, Callable[..., Any]] = {EAGER: plain}
    for name in wavenet_kernels.available_backends():
        if name != "cpu" or options.device == "cpu":
            every[f"ours {name}"] = _ours(operator, name)
    every[AGAIN] = plain
    return chosen(every, options.contenders)


def _ours(operator: str, backend: Any) -> Callable[..., Any]:
    function = getattr(wavenet_kernels, operator)

    def ours(**arguments: Any) -> Any:
        with wavenet_kernels.use_backend(backend):
            return function(**arguments)

    return ours


def arguments_of(operator: str, form: str, workload: Workload, options: Options) -> Arguments:
    """A layer's, by the names that the public function has for them."""
    one = replace(workload, dilations=(DILATION,))
    x, *weights = one.tensors(options.device, options.dtype)
    conv_weight, conv_bias, out_weight, out_bias = (weight[0] for weight in weights)
    more: Arguments = {}
    if form == "cond":
        more["cond"] = x.new_empty(len(x), len(conv_weight), x.shape[2]).normal_()
    if operator == "gated_activation":
        return {"a": laid(form, x.repeat(1, 2, 1)), **more}
    x = laid(form, x)
    more.update(dilation=DILATION, padding=workload.padding)
    if operator == "residual_block":
        names = ("conv_weight", "conv_bias", "out_weight", "out_bias")
        given = (conv_weight, conv_bias, out_weight, out_bias)
        return {"x": x, **dict(zip(names, given, strict=True)), **more}
    if operator == "dilated_conv1d":
        half = len(conv_weight) // 2
        conv_weight, conv_bias = conv_weight[:half], conv_bias[:half]
    return {"x": x, "weight": conv_weight, "bias": conv_bias, **more}


def laid(form: str, signal: Tensor) -> Tensor:
    """(B, C, T), contiguous or a view of (B, T, C) rows."""
    if form == "rows":
        return signal.transpose(1, 2).contiguous().transpose(1, 2)
    return signal.contiguous()


def check(backend: str, operator: str, arguments: Arguments) -> None:
    """By calibration's own judgement.

    Raises:
        ArithmeticError: outputs or gradients are wrong.
    """
    call = Call.of(operator, arguments).as_stack().within_time()
    batch, _, steps = call.tensors.x.shape
    kind, device = Kind.of(call, step=True), call.tensors.x.device
    if wrong := verify.wrong(backends.load(backend), kind, device, (batch, steps)):
        raise ArithmeticError(wrong)


def _pass(
    function: Callable[..., Any], arguments: Arguments, *, step: bool
) -> Callable[[None], None]:
    if not step:

        def forward(_: None) -> None:
            with torch.no_grad():
                function(**arguments)

        return forward
    given = {
        name: value.clone().requires_grad_() if isinstance(value, Tensor) else value
        for name, value in arguments.items()
    }
    leaves = [value for value in given.values() if isinstance(value, Tensor)]

    def both(_: None) -> None:
        outputs = function(**given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.autograd.grad(outputs, leaves, [torch.ones_like(output) for output in outputs])

    return both
