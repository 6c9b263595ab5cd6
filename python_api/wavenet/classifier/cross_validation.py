"""Cross-validation: as many runs as there are folds or groups, each tested on what it left out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import statistics
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from wavenet.classifier.data import find_labelled, fold_groups, labels_of, values_of
from wavenet.classifier.data.background import BACKGROUND
from wavenet.classifier.inference import evaluate, load_model
from wavenet.classifier.inference.evaluate import EvaluationClips, choose_clips
from wavenet.classifier.inference.events import hear, measure_events
from wavenet.classifier.inference.intervals import wilson_interval
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.run_folder import CROSS_VALIDATION_NAME, LEFT_OUT_NAME
from wavenet.classifier.training.loop import train_among
from wavenet.classifier.training.processes import processes, run_on_main
from wavenet.errors import ConfigError, DataError, extra
from wavenet.files import replace_file
from wavenet.locks import writable_folder

with extra("classifier"):
    from rich.console import Console

FIGURES_OF_EVENTS = ("event_f1", "event_macro_f1", "segment_f1", "segment_macro_f1")


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What the parts gave: for each its name, clips, accuracy, macro_f1, loss and confusion.

    Of tags it is map instead of accuracy, without a confusion; of events there are the figures of
    whole recordings, too. `background` is the label of clips of which every part has the same ones,
    where there are such: what is counted over all parts leaves them out.
    """

    by: str
    labels: tuple[str, ...]
    parts: list[dict[str, Any]]
    background: str = ""

    def mean(self, figure: str) -> float:
        """Of a figure that each part has, "accuracy", say; every part counts the same."""
        return statistics.mean(part[figure] for part in self.parts)

    def standard_deviation(self, figure: str) -> float:
        """Over the parts, of a sample (n - 1); 0 of one part."""
        values = [part[figure] for part in self.parts]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def as_dict(self, parts_in_all: int) -> dict[str, Any]:
        """For cross_validation.json; `confusion`, of classes, is the sum over the parts."""
        names = ("accuracy", "map", "macro_f1", *FIGURES_OF_EVENTS, "loss")
        figures = tuple(name for name in names if name in self.parts[0])
        summed: dict[str, Any] = {}
        if "confusion" in self.parts[0]:
            confusion = np.sum([part["confusion"] for part in self.parts], axis=0)
            if self.background:
                confusion[self.labels.index(self.background)] = 0
            summed = {"confusion": confusion.tolist()}
            clips = int(confusion.sum())
            summed["accuracy_interval"] = list(wilson_interval(int(confusion.trace()), clips))
        return {
            "by": self.by,
            "parts_done": len(self.parts),
            "parts_in_all": parts_in_all,
            **{
                figure: {
                    "mean": self.mean(figure),
                    "standard_deviation": self.standard_deviation(figure),
                    "lowest": min(part[figure] for part in self.parts),
                    "highest": max(part[figure] for part in self.parts),
                }
                for figure in figures
            },
            "labels": list(self.labels),
            **summed,
            "parts": self.parts,
        }


def cross_validate(
    config: RunConfig, out: Path, *, by: str, console: Console | None = None
) -> CrossValidation:
    """Train and test once for each fold or group of the data.

    Every part is a run of its own in a folder of `out`; called again with the same arguments it
    goes on where it was interrupted, in the middle of a part too, and what is done is not done
    again. `cross_validation.json` is written anew after every part. Several processes share each
    training, as in `train`; the first of them tests.

    Args:
        config: as of `train`; its data names a manifest with the column `by`, or has `group_folds`.
        out: the folder of all runs; made if it is not there.
        by: "fold" or "group".
        console: where progress is shown; None: the standard output.

    Raises:
        ConfigError: `out` holds runs of another configuration, or another process is writing to
            it, or one part is left out already.
        DataError: fewer than two folds or groups, a class that only one of them has, or what
            `train` finds.
    """
    _ = config.architecture  # of a classifier
    if config.data.leave_out_fold or config.data.leave_out_group:
        raise ConfigError(
            "data.leave_out_fold and data.leave_out_group are chosen by the cross-validation; "
            "accepted is that both are empty"
        )
    if not config.data.source:
        raise ConfigError("data.source is empty; accepted are a folder and a manifest (--data)")
    clips = find_labelled(config.data, Path(config.data.source))
    if config.data.group_folds:
        clips = fold_groups(clips, config.data.group_folds)
    names = values_of(clips, by)
    if len(names) < 2:
        have = f"its only {by} is {names[0]!r}" if names else f"no clip has a {by}"
        raise DataError(f"{config.data.source}: {have}; at least two are needed")
    for label in labels_of(clips):  # rather now than when all parts but one are trained
        having = {getattr(clip, by) for clip in clips if label in clip.labels}
        if len(having) < 2:
            raise DataError(
                f"{config.data.source}: all clips of {label!r} are of {by} {having.pop()!r}; a "
                f"class needs clips in two or more {by}s"
            )
    parts: list[dict[str, Any]] = []
    background = BACKGROUND if config.data.background else ""
    with contextlib.ExitStack() as held, processes(config.training.device) as accelerator:
        console = console or Console(quiet=not accelerator.is_main_process)
        run_on_main(accelerator, lambda: _hold(out, held))
        for number, name in enumerate(names, start=1):
            headline = f"{by} {name}, {number} of {len(names)}"
            console.print(headline, style="bold", highlight=False, markup=False)
            run = out / f"{by}-{quote(name, safe='')}"
            left_out: dict[str, Any] = {f"leave_out_{by}": name}
            data = dataclasses.replace(config.data, **left_out)
            part = dataclasses.replace(config, data=data)
            train_among(accelerator, part, run, resume=True, console=console)
            accelerator.free_memory()  # of the model that it made parallel
            run_on_main(accelerator, functools.partial(_test, run))
            content = json.loads((run / LEFT_OUT_NAME).read_text(encoding="utf-8"))
            labels = tuple(content["labels"])
            parts.append({"name": name, **content})
            result = CrossValidation(by, labels, parts, background)
            if accelerator.is_main_process:
                text = json.dumps(result.as_dict(len(names)), indent=1, ensure_ascii=False)
                replace_file(out / CROSS_VALIDATION_NAME, text + "\n")
    return result


def _hold(out: Path, held: contextlib.ExitStack) -> None:
    held.enter_context(writable_folder(out))


def _test(run: Path) -> None:
    """Write what the run's model makes of its test clips, which are looked at once."""
    if (run / LEFT_OUT_NAME).is_file():
        return
    model = load_model(run)
    chosen = choose_clips(run, model.config, None, "test")
    content = {"data": chosen.source, "split": "test", **_figures(model, chosen)}
    replace_file(run / LEFT_OUT_NAME, json.dumps(content, indent=1))


def _figures(model: WaveNetClassifier, chosen: EvaluationClips) -> dict[str, Any]:
    metrics = evaluate(model, chosen.clips, chosen.cache, max_samples=chosen.max_samples)
    content = metrics.as_dict()
    if model.config.events:
        heard = hear(model, chosen.clips, chosen.cache)
        figures = measure_events(model.config, heard).figures
        content |= {name: figures[name] for name in FIGURES_OF_EVENTS}
    return content
