"""Everything that makes a figure, or a table or plot of figures: `python -m benchmarks COMMAND`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """A module with `main(arguments)`, imported when the command is given."""

    module: str
    summary: str
    compiles: bool = False  # Triton's kernels, which its interpreter can't; asked once, at import


COMMANDS = {
    "run": Command("operators.run", "measure the operators against PyTorch's, write JSON"),
    "report": Command("reporting.report", "draw tables and plots of what was measured"),
    "compare": Command("reporting.compare", "say how two results, or two commits, differ"),
    "kept": Command("operators.kept", "a training step by what it keeps: products, memory, time"),
    "neighbour": Command(
        "operators.neighbour", "what another program's load costs passes on all CPUs"
    ),
    "profile": Command("profiles.profile", "where a backend's time goes"),
    "instruction-counts": Command(
        "compiled.instruction_counts", "what the CPU kernels execute, against the committed counts"
    ),
    "instruction-mix": Command(
        "compiled.instruction_mix", "what GPU kernels are made of, with no GPU", compiles=True
    ),
    "triton-kernels": Command(
        "compiled.triton_kernels",
        "registers, spills and shared memory of the Triton kernels, with no GPU",
        compiles=True,
    ),
    "triton-tuning": Command(
        "operators.triton_tuning", "measure configurations of the Triton kernels on this GPU"
    ),
    "model": Command("model.run", "predicted times of the GPU kernels, with no GPU", compiles=True),
    "predictions": Command(
        "operators.predictions", "what the model predicted of the GPU kernels, beside measurements"
    ),
    "calibration": Command(
        "operators.calibration", 'what "auto" finds out here, what that and every call costs'
    ),
    "classifier": Command("classifier.accuracy", "train and evaluate the classifier on a data set"),
    "end-to-end": Command("classifier.end_to_end", "clips a second in training, time by part"),
    "presets": Command("classifier.presets", "size, receptive field and cost of architectures"),
    "generation": Command("generation.sampling", "samples a second of the whole sampling loop"),
    "speech": Command("generation.speech", "train and evaluate a generative model on a data set"),
    "melodies": Command("generation.melodies", "train a WaveNet to play notes, and listen"),
    "waveglow": Command("generation.waveglow", "inference and training step of WaveGlow"),
    "vocoder-step": Command("generation.training_step", "training step of a WaveNet vocoder"),
    "listening": Command("classifier.listening", "an hour of streaming: memory and speed"),
    "many-clips": Command(
        "classifier.many_clips", "an epoch of many short clips: start-up, memory, waiting for data"
    ),
    "exported": Command("classifier.exported", "exported classifiers against PyTorch"),
    "runtime": Command("classifier.runtime", "the C library on a stream: size, memory, time"),
    "amplifier": Command(
        "amplifier.run", "the C library against a guitar amplifier's engine, on its network"
    ),
    "fuzz": Command("compiled.fuzzing", "files that mean harm against the C library, by libFuzzer"),
    "synth-baseline": Command(
        "classifier.synth_baseline", "what a linear model makes of the synthesised sounds"
    ),
}


# Else torch's profiler, by which memory is measured, says four lines for every figure.
QUIET = {"KINETO_LOG_LEVEL": "6", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Import the command's module, let it do the rest."""
    for variable, value in QUIET.items():  # heard when torch is imported
        os.environ.setdefault(variable, value)
    given = sys.argv[1:] if arguments is None else arguments
    name, *rest = given or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        raise SystemExit(f"python -m benchmarks: there is no {name!r}\n\n{usage()}")
    command = COMMANDS[name]
    if command.compiles:
        os.environ["TRITON_INTERPRET"] = "0"
    importlib.import_module(f"benchmarks.{command.module}").main(rest)


def usage() -> str:
    """A line for each command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([__doc__ or "", "", *lines, "", "COMMAND --help says more."])


if __name__ == "__main__":
    main()
