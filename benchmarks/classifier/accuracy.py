"""Trains and evaluates the classifier on a data set and writes what came out, and in what time.

    python -m benchmarks classifier fsdd fsdd/manifest.csv --name fsdd
    python -m benchmarks classifier fsdd-robust fsdd/manifest.csv --name fsdd-speakers
        --leave-one-group-out
    python -m benchmarks classifier esc10 esc10/manifest.csv --name esc10 --folds
    python -m benchmarks classifier tuned.yaml fsdd/manifest.csv --name fsdd-from-mine
        --leave-one-group-out --from runs/mine

The run folder is runs/NAME; an interrupted run goes on. The test part is looked at once, after
training, as it is and in white noise; the epoch that is saved was chosen on a validation part of
the training clips. With --leave-one-group-out there is a run for each group (speaker, say), with
--folds for each fold, tested on it alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import BUILD, environment, write_results
from wavenet import load_model
from wavenet.classifier.cross_validation import cross_validate
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.inference.noise_curve import measure_noise_curve
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.training import train
from wavenet.commands.common import run_config

SNRS_DB = (20.0, 10.0, 5.0, 0.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, evaluate, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks classifier", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", required=True, help="of the result and the run folder")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--leave-one-group-out", dest="by", action="store_const", const="group", default=""
    )
    parts.add_argument("--folds", dest="by", action="store_const", const="fold")
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="a trained one to start from")
    parser.add_argument("--out", type=Path, help="file; by default in build/bench/")
    options = parser.parse_args(arguments)

    where = environment()  # the commit that runs, whatever is edited meanwhile
    config = run_config(options.config, options.set, options.data, options.start)
    said = {"benchmark": "classifier", "name": options.name, "config": options.config.name}
    said["changed"] = options.set
    if options.start:
        said["from"] = options.start
    runs = Path("runs") / options.name
    measured = left_out(config, runs, options.by) if options.by else split(config, runs)
    content = {**said, **measured, **where}
    write_results(options.out or BUILD / f"classifier-{options.name}.json", content)


def left_out(config: RunConfig, runs: Path, by: str) -> dict[str, Any]:
    """Train without and test on each group or fold; mean and spread."""
    result = cross_validate(config, runs, by=by)
    accuracies = ", ".join(f"{part['name']} {part['accuracy']:.2%}" for part in result.parts)
    mean, deviation = result.mean("accuracy"), result.standard_deviation("accuracy")
    print(f"test accuracy {mean:.2%} +- {deviation:.2%}: {accuracies}")
    content = result.as_dict(len(result.parts))
    for part in content["parts"]:
        del part["data"]  # where the clips lie on this machine
    return {
        "protocol": f"a run for each {by}, whose clips are all of the test set",
        "test_accuracy": mean,
        "test_accuracy_standard_deviation": deviation,
        **content,
    }


def split(config: RunConfig, run: Path) -> dict[str, Any]:
    """Train and test on the data's own split."""
    result = train(config, run, resume=True)
    model = load_model(run)
    chosen = choose_clips(run, model.config, None, "test")
    curve = measure_noise_curve(
        model, chosen.clips, chosen.cache, SNRS_DB, max_samples=chosen.max_samples
    )
    metrics = curve.clean
    noisy = ", ".join(f"{m.accuracy:.2%} at {snr:g} dB" for snr, m in curve.noisy.items())
    print(f"test accuracy {metrics.accuracy:.2%}; {noisy}; {result.seconds:.0f} s")
    return {
        "protocol": "the data's own test split",
        "test_accuracy": metrics.accuracy,
        "test_macro_f1": metrics.macro_f1,
        "validation_accuracy": result.accuracy,
        "epochs": result.epochs,
        "training_seconds": round(result.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "receptive_field_ms": model.receptive_field_ms,
        "noise": curve.as_dict(),
        "test": metrics.as_dict(),
    }
