"""Trains and evaluates the classifier on a data set and writes what came out, and in what time.

    python -m benchmarks.classifier configs/fsdd.yaml fsdd/manifest.csv --name fsdd
    python -m benchmarks.classifier configs/fsdd.yaml fsdd/manifest.csv --name fsdd --leave-out theo

The run folder is runs/NAME[-GROUP]; an interrupted run goes on. The test part is looked at once,
after training, as it is and in white noise; the epoch that is saved was chosen on a validation part
of the training clips.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.environment import RESULTS, environment, write_results
from wavenet import load_model
from wavenet.inference.noise_curve import noise_curve
from wavenet.training import load_config, train
from wavenet.training.evaluation import clips_to_evaluate

SNRS_DB = (20.0, 10.0, 5.0, 0.0)


def main() -> None:
    """Parse the command line, train, evaluate, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifier", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", required=True, help="of the result and the run folder")
    parser.add_argument("--leave-out", default="", metavar="GROUP", help="test on it alone")
    options = parser.parse_args()

    where = environment()  # the commit that runs, whatever is edited meanwhile
    name = "-".join(filter(None, (options.name, options.leave_out)))
    run = Path("runs") / name
    overrides = [f"data.source={json.dumps(str(options.data.resolve()))}"]
    overrides.append(f"data.leave_out_group={json.dumps(options.leave_out)}")
    config = load_config(options.config, overrides)
    result = train(config, run, resume=True)

    model = load_model(run)
    chosen = clips_to_evaluate(run, model.config, None, "test")
    curve = noise_curve(model, chosen.clips, chosen.cache, SNRS_DB, max_samples=chosen.max_samples)
    metrics = curve.clean
    content = {
        "benchmark": "classifier",
        "name": name,
        "protocol": f"all clips of group {options.leave_out!r} are the test set"
        if options.leave_out
        else "the data's own test split",
        "config": options.config.name,
        "test_accuracy": metrics.accuracy,
        "test_macro_f1": metrics.macro_f1,
        "validation_accuracy": result.accuracy,
        "epochs": result.epochs,
        "training_seconds": round(result.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "receptive_field_ms": model.receptive_field_ms,
        **where,
        "noise": curve.as_dict(),
        "test": metrics.as_dict(),
    }
    noisy = ", ".join(f"{m.accuracy:.2%} at {snr:g} dB" for snr, m in curve.noisy.items())
    print(f"{name}: test accuracy {metrics.accuracy:.2%}; {noisy}; {result.seconds:.0f} s")
    write_results(RESULTS / f"classifier-{name}.json", content)


if __name__ == "__main__":
    main()
