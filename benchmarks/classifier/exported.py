"""What a trained classifier becomes when it is exported: agreement, accuracy, size, latency.

    python -m benchmarks exported runs/fsdd --name fsdd

One thread; the accuracy is that on the run's own test clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.environment import BUILD, environment, write_results
from wavenet import load_model
from wavenet.classifier.inference.evaluate import Classify, choose_clips, classify_clips, metrics_of
from wavenet.classifier.inference.export import export_model


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, export, compare, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks exported", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--out", type=Path, help="file; by default in build/bench/")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    where = environment()
    model = load_model(options.run)
    chosen = choose_clips(options.run, model.config, None, "test")
    labels = model.config.labels

    def accuracy(classify: Classify) -> float:
        found = classify_clips(
            classify, model.config, chosen.clips, chosen.cache, max_samples=chosen.max_samples
        )
        return metrics_of(*found, labels).accuracy

    rows = []
    for one in export_model(model, ("onnx", "torch"), accuracy=accuracy):
        row = {
            "file": one.name,
            "bytes": one.size,
            "logits_differ_by": one.difference,
            "milliseconds_for_1_s": one.latency_ms,
            "accuracy": one.accuracy,
        }
        rows.append(row)
        print(row)
    content = {"benchmark": "exported", "name": options.name, "clips": len(chosen.clips)}
    out = options.out or BUILD / f"exported-{options.name}.json"
    write_results(out, {**content, **where, "rows": rows})
