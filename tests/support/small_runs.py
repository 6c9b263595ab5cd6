"""Training runs that take seconds: recordings of three pitches and a network of a few weights."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from safetensors.torch import load_file

from wavenet.training import RunConfig, load_config

RATE = 4000
OVERRIDES = [
    "model.sample_rate=4000",
    "model.stem_stride=4",
    "model.stem_kernel_size=8",
    "model.residual_channels=8",
    "model.dilation_channels=8",
    "model.skip_channels=8",
    "model.layers_per_stack=4",
    "model.stacks=1",
    "model.head_channels=8",
    "model.dropout=0.2",
    "augmentation.gain_db=3",
    "augmentation.shift_ms=5",
    "training.epochs=3",
    "training.batch_size=8",
    "training.learning_rate=1e-2",
    "training.device=cpu",
]


def write_recordings(folder: Path) -> Path:
    """Three classes of tones, easy to tell apart; 12 clips each, of unequal lengths."""
    random = np.random.default_rng(0)
    rows = []
    for label, pitch in (("low", 150), ("middle", 500), ("high", 1500)):
        (folder / label).mkdir()
        for i in range(12):
            t = np.arange(int(RATE * random.uniform(0.1, 0.3))) / RATE
            tone = 0.4 * np.sin(2 * math.pi * pitch * random.uniform(0.9, 1.1) * t)
            path = folder / label / f"{i}.wav"
            soundfile.write(path, tone + 0.02 * random.standard_normal(t.size), RATE)
            split = "test" if i < 3 else "train"
            rows.append((path.relative_to(folder), label, split, f"person{i % 4}"))
    with open(folder / "all.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
    return folder


def small_config(recordings: Path, tmp_path: Path, *more: str) -> RunConfig:
    """The configuration of such a run; `more` are overrides."""
    source = [f"data.source={recordings / 'all.csv'}", f"data.cache={tmp_path / 'cache'}"]
    return load_config(None, [*OVERRIDES, *source, *more])


def quiet() -> Console:
    """A console that nobody sees."""
    return Console(file=open(os.devnull, "w"))  # noqa: SIM115


def checkpoints(run: Path) -> list[Path]:
    """Oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The best model, and all of the newest checkpoint."""
    newest = checkpoints(run)[-1]
    files = {
        "best": run / "model.safetensors",
        "evaluated": newest / "model.safetensors",
        "state": newest / "state.safetensors",
    }
    return {f"{k} {n}": v for k, path in files.items() for n, v in load_file(path).items()}


def same(a: Path, b: Path) -> bool:
    """Two runs ended with the same bits."""
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
