"""Training end to end: clips and samples a second by backend, and where a step's time goes.

    python -m benchmarks end-to-end fsdd fsdd/manifest.csv --name fsdd
    python -m benchmarks end-to-end demo            # on synthesised sounds

Every contender learns, with the parts that `wavenet train` is made of, from the same batches in
the same order: a round is a step of each, in a new order every round, once as it is and once under
the clock of `sections`, which says what is counted as inside the operators. "eager" is the model
in plain PyTorch, its stack under autograd; "ours" is our operators on a backend, "compiled" with
`training.compile`. "data alone" draws, loads, augments and moves the same batches and learns
nothing: no model can be trained faster. Progress bar, validation and checkpoints, which come
between the steps, are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.markdown import Markdown
from torch import Tensor, nn

import wavenet_kernels
from benchmarks.classifier.sections import SECTIONS, Clock, ClockedLearner, watched
from benchmarks.environment import BUILD, environment, write_results
from benchmarks.operators.contenders import chosen
from benchmarks.reporting.rows import Row, sentence
from benchmarks.reporting.tables import table_of
from benchmarks.timing import Run, interleave, spread
from wavenet.classifier.data import Batch, PreparedData, prepare_data
from wavenet.classifier.data.synth import write_data_set
from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.classifier.run_config import RunConfig, load_config
from wavenet.classifier.training.batches import TrainingBatches
from wavenet.classifier.training.processes import processes
from wavenet_kernels import reference
from wavenet_kernels.nn import ResidualStack

WARM_UP = 3  # steps before those of `interleave`: compilation for one and for any length
DATA = "data alone"
STEPS_OF_A_RUN = 2000  # of the learning rate's schedule, whose start is measured


@dataclass(frozen=True)
class Contender:
    """How a model is trained: on a backend, or with a stack in plain PyTorch; maybe compiled."""

    backend: str | None
    compiled: bool = False

    def model(self, config: WaveNetConfig) -> WaveNetClassifier:
        """What it trains."""
        model = WaveNetClassifier(config)
        if self.backend is None:
            model.stack = EagerStack(model.stack)
        return model

    def in_force(self) -> contextlib.AbstractContextManager[object]:
        """Steps meanwhile are this contender's."""
        return wavenet_kernels.use_backend(self.backend or "reference")


class EagerStack(nn.Module):
    """A stack of the classifier in plain PyTorch, under autograd."""

    def __init__(self, stack: ResidualStack) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        of = self.stack
        return reference.residual_stack(
            x,
            of.conv_weight,
            of.conv_bias,
            of.out_weight,
            of.out_bias,
            dilations=of.dilations,
            padding=of.padding,
            residual_scale=of.residual_scale,
            last_residual=of.last_residual,
        )


def contenders(device: str, wanted: list[str] | None = None) -> dict[str, Contender]:
    """By name: eager PyTorch (twice, which shows the noise) and our backends."""
    every = {"eager": Contender(None)}
    for name in wavenet_kernels.available_backends():
        elsewhere = name == "cpu" and device != "cpu"
        if not elsewhere:
            every[f"ours {name}"] = Contender(name)
            every[f"ours {name}, compiled"] = Contender(name, compiled=True)
    every["eager again"] = Contender(None)
    return chosen(every, wanted)


@dataclass
class Done:
    """What the calls of a run did, one entry for each."""

    clips: list[int] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    sections: list[dict[str, float]] = field(default_factory=list)

    def count(self, batch: Batch) -> Batch:
        """Add a part of the latest call."""
        self.clips[-1] += len(batch.lengths)
        self.samples[-1] += int(batch.lengths.sum())
        return batch


class Feed:
    """The batches of epoch after epoch, of a run's own `TrainingBatches`."""

    def __init__(self, config: RunConfig, data: PreparedData, accelerator: Accelerator) -> None:
        self.batches = TrainingBatches(config, data, accelerator)
        self.coming = itertools.chain.from_iterable(map(self.batches.epoch, itertools.count()))
        self.done = Done()

    def next(self) -> tuple[int, Iterator[Batch]]:
        """How many clips the next batch has, and its parts, which are counted as they are drawn."""
        clips, parts = next(self.coming)
        self.done.clips.append(0)
        self.done.samples.append(0)
        return clips, map(self.done.count, parts)


def drawing(feed: Feed) -> Run:
    """The data pipeline alone."""

    def run(_: None) -> None:
        _, parts = feed.next()
        for _ in parts:
            pass

    return Run(run)


def training(contender: Contender, learner: ClockedLearner, feed: Feed, clock: Clock | None) -> Run:
    """Steps of the learner, under the clock if there is one."""
    numbers = itertools.count()

    def run(_: None) -> None:
        with contender.in_force():
            if clock is None:
                clips, parts = feed.next()
                learner.step(parts, clips, next(numbers))
                return
            with watched(learner, clock, "rest" if contender.backend else "operators"):
                before = clock.enter("data")
                clips, parts = feed.next()
                clock.enter(before)
                learner.step(clock.drawn(parts), clips, next(numbers))
        feed.done.sections.append(clock.seconds)

    return Run(run)


def measure(config: RunConfig, wanted: dict[str, Contender], steps: int, device: str) -> list[Row]:
    """A row for each contender and one for the data alone."""
    rows: list[Row] = []
    with processes("cpu" if device == "cpu" else "auto") as accelerator:
        model = config.model
        data = prepare_data(
            config.data, model.sample_rate, model.receptive_field, config.training.seed
        )
        feed = partial(Feed, config, data, accelerator)
        feeds: dict[tuple[str, bool], Feed] = {(DATA, False): feed()}
        runs = {(DATA, False): drawing(feeds[DATA, False])}
        wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
        for name, contender in wanted.items():
            settings = replace(config.training, compile=contender.compiled)
            torch.manual_seed(settings.seed)
            learner = ClockedLearner(
                contender.model(config.model_config(data.labels)),
                settings,
                accelerator,
                STEPS_OF_A_RUN,
            )
            mine = {(name, clocked): feed() for clocked in (False, True)}
            try:
                for key, its_feed in mine.items():
                    clock = Clock(wait) if key[1] else None
                    runs[key] = training(contender, learner, its_feed, clock)
                    for _ in range(WARM_UP):
                        runs[key].run(None)
                feeds.update(mine)
            except Exception as error:
                rows.append({"contender": name, "error": sentence(error)})
                for key in mine:
                    runs.pop(key, None)
        for _ in range(WARM_UP):
            runs[DATA, False].run(None)
        seconds = interleave(runs, rounds=steps, device=device)
    eager = seconds.get(("eager", False))
    for name in (*wanted, DATA):
        if (name, False) in runs:
            row = _speed(name, seconds[name, False], feeds[name, False].done, eager)
            if (name, True) in runs:
                row.update(_shares(feeds[name, True].done.sections[-steps:]))
                row["clock_cost"] = _ratio(seconds[name, True], seconds[name, False]) - 1
            rows.append(row)
    return rows


def _speed(name: str, seconds: list[float], done: Done, eager: list[float] | None) -> Row:
    steps = len(seconds)
    row: Row = {"contender": name}
    for what, counts in (("clips", done.clips[-steps:]), ("samples", done.samples[-steps:])):
        rates = [count / second for count, second in zip(counts, seconds, strict=True)]
        values = zip(("", "_p10", "_p90"), spread(rates), strict=True)
        row.update({f"{what}_per_second{suffix}": value for suffix, value in values})
    row.update(
        zip(("median_ms", "p10_ms", "p90_ms"), (1e3 * s for s in spread(seconds)), strict=True)
    )
    if eager is not None:
        row["over_eager"] = _ratio(eager, seconds)
    return row


def _ratio(first: list[float], second: list[float]) -> float:
    """Of the times for the same batches."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def _shares(steps: list[dict[str, float]]) -> Row:
    """Of all steps' time together; of the share outside all operators its spread over steps too."""
    total = sum(sum(step.values()) for step in steps)
    shares = {name: sum(step[name] for step in steps) / total for name in SECTIONS}
    outside = [
        1 - (step["operators"] + step["convolutions"]) / sum(step.values()) for step in steps
    ]
    _, low, high = spread(outside)
    return {
        "shares": shares,
        "section_ms": {
            name: 1e3 * statistics.median(step[name] for step in steps) for name in SECTIONS
        },
        "outside": 1 - shares["operators"] - shares["convolutions"],
        "outside_stack": 1 - shares["operators"],
        "outside_p10": low,
        "outside_p90": high,
    }


@contextlib.contextmanager
def sounds() -> Iterator[Path]:
    """Synthesised ones, for as long as they are needed."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_data_set(Path(folder) / "sounds", clips_per_class=50)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks end-to-end", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path, nargs="?", help="default: synthesised sounds")
    parser.add_argument("--name", help="of the result; default: the configuration's")
    parser.add_argument("--steps", type=int, default=30, help="measured of each (default 30)")
    parser.add_argument("--contenders", nargs="+", help="e.g. eager 'ours cpu'; default: all")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="overrides")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--out", type=Path, help="JSON file; default: in benchmarks/results/")
    options = parser.parse_args(arguments)

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    wanted = contenders(device, options.contenders)
    if unknown := set(options.contenders or ()) - set(contenders(device)):
        raise SystemExit(f"--contenders {sorted(unknown)}: there are {list(contenders(device))}")
    where = environment(device)  # the commit that runs, whatever is edited meanwhile
    with contextlib.ExitStack() as stack:
        source = options.data or stack.enter_context(sounds())
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        overrides = [*options.set, f"data.source={source}", f"data.cache={cache}"]
        config = load_config(options.config, overrides)
        rows = measure(config, wanted, options.steps, device)
    Console(width=170).print(Markdown(table_of("end-to-end", rows)))
    name = options.name or options.config.stem
    content = {
        **where,
        "benchmark": "end-to-end",
        "config": options.config.as_posix(),
        "overrides": options.set,
        "data": options.data.name if options.data else "synthesised sounds",
        "batch_size": config.training.batch_size,
        "rounds": options.steps,
        "rows": rows,
    }
    write_results(options.out or BUILD / f"end-to-end-{name}.json", content)
