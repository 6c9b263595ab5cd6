"""A run for every combination of settings, and a table of what came of each."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wavenet.classifier.run_config import LAST, SWEEP, RunConfig, load_config, read_yaml
from wavenet.classifier.run_folder import Row
from wavenet.configs import locate
from wavenet.errors import ConfigError, DataError, TrainingError
from wavenet.files import replace_file

SWEEP_NAME = "sweep.json"
SEED = "training.seed"
# Longer names of folders are refused by file systems.
LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class Point:
    """One combination: what it sets, the run's configuration, and its folder's name."""

    settings: Mapping[str, Any]
    config: RunConfig
    name: str


@dataclasses.dataclass
class Outcome:
    """What came of a combination: the best epoch's figures, or why there are none."""

    settings: Mapping[str, Any]
    run: str
    best: Row | None = None
    error: str = ""


def load_sweep(path: Path, overrides: Sequence[str] = (), **load: Any) -> list[Point]:
    """The combinations of a configuration's section `sweep`, all of them checked.

    The section has a list of values for each field::

        sweep: {training.learning_rate: [1e-3, 3e-3], training.seed: [0, 1, 2]}

    Args:
        path: the YAML file, or the name of one that is installed.
        overrides: as of `load_config`, of all runs.
        load: what else `load_config` takes.

    Raises:
        ConfigError: no such section, a field without a list, or one that is set twice; or what
            `load_config` says of a combination.
    """
    section = read_yaml(locate(path)).get(SWEEP)
    if not isinstance(section, dict) or not section:
        raise ConfigError(f"{path}: has no section {SWEEP!r} with a list of values for each field")
    for name, values in section.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{path}: {SWEEP}.{name} is {values!r}; accepted is a list of values")
        if any(override.startswith(f"{name}=") for override in overrides):
            raise ConfigError(f"--set {name} is also in {SWEEP}; accepted is one of the two")
    points: list[Point] = []
    for values in itertools.product(*section.values()):
        settings = dict(zip(section, values, strict=True))
        chosen = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
        name = ",".join(
            f"{key.rpartition('.')[2]}={quote(str(value), safe='')}"
            for key, value in settings.items()
        )
        if len(name) > LONGEST_NAME:
            name = f"run-{len(points) + 1:04d}"
        points.append(Point(settings, load_config(path, [*overrides, *chosen], **load), name))
    return points


def run_sweep(
    points: Sequence[Point],
    out: Path,
    train: Callable[[RunConfig, Path], Row],
    announce: Callable[[int, Point], None] = lambda number, point: None,
) -> list[Outcome]:
    """Train all combinations one after another; `sweep.json` in `out` is written after each.

    Called again it goes on where it was interrupted. A run that fails, or whose settings don't go
    with the data, is named and the others go on.

    Args:
        points: as `load_sweep` gives them.
        out: the folder of all runs.
        train: makes a run, or goes on with it, and gives its best epoch.
        announce: called with the number (from 1) of what comes next.
    """
    outcomes: list[Outcome] = []
    for number, point in enumerate(points, start=1):
        announce(number, point)
        outcome = Outcome(point.settings, point.name)
        try:
            outcome.best = train(point.config, out / point.name)
        except (TrainingError, ConfigError, DataError) as error:
            outcome.error = str(error)
        outcomes.append(outcome)
        content = {
            "runs_in_all": len(points),
            "runs": [vars(outcome) for outcome in outcomes],
            "without_seeds": [vars(group) for group in over_seeds(outcomes, points[0].config)],
        }
        replace_file(out / SWEEP_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return outcomes


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone.

    `figure` is what they are judged by; `mean` and `standard_deviation` (0 of one run) are over
    those that ended, None if none has.
    """

    settings: dict[str, Any]
    figure: str
    runs: int
    failed: int
    mean: float | None
    standard_deviation: float


def over_seeds(outcomes: Sequence[Outcome], config: RunConfig) -> list[Group]:
    """The runs by their other settings, best first."""
    figure = config.training.best_by
    if figure == LAST:
        figure = "loss"
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        others = {name: value for name, value in outcome.settings.items() if name != SEED}
        groups.setdefault(json.dumps(others), []).append(outcome)
    found = []
    for key, members in groups.items():
        values = [m.best[f"validation_{figure}"] for m in members if m.best is not None]
        mean = sum(values) / len(values) if values else None
        spread = 0.0
        if mean is not None and len(values) > 1:
            spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        failed = len(members) - len(values)
        found.append(Group(json.loads(key), figure, len(members), failed, mean, spread))
    sign = 1 if figure == "loss" else -1
    return sorted(found, key=lambda g: (g.mean is None, sign * (g.mean or 0.0)))
