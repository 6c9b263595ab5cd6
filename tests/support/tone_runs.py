"""Fixtures: a tiny run over easy tones, trained once for all tests, and the command line in this
process. A plugin, so that pytest finds them."""

from __future__ import annotations

import csv
import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from rich.console import Console

from wavenet.cli import main
from wavenet.training import load_config, train

RATE = 4000
TINY = [
    "model.sample_rate=4000",
    "model.stem_stride=4",
    "model.stem_kernel_size=8",
    "model.residual_channels=8",
    "model.dilation_channels=8",
    "model.skip_channels=8",
    "model.layers_per_stack=4",
    "model.stacks=1",
    "model.head_channels=8",
    "training.epochs=15",
    "training.batch_size=8",
    "training.learning_rate=1e-2",
    "training.device=cpu",
]


class Tones(NamedTuple):
    """`manifest` lists three classes of tones, in splits, folds and groups; `run` learned them."""

    manifest: Path
    cache: Path
    run: Path


@pytest.fixture(scope="session")
def tone_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest."""
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    rows = []
    for label, pitch in (("low", 150), ("middle", 500), ("high", 1500)):
        (folder / label).mkdir()
        for i in range(12):
            t = np.arange(int(RATE * random.uniform(0.15, 0.3))) / RATE
            tone = 0.4 * np.sin(2 * math.pi * pitch * random.uniform(0.9, 1.1) * t)
            path = folder / label / f"{i}.wav"
            soundfile.write(path, tone + 0.02 * random.standard_normal(t.size), RATE)
            split = "test" if i < 3 else "train"
            rows.append((path.relative_to(folder), label, split, i % 2, f"person{i % 3}"))
    manifest = folder / "all.csv"
    with open(manifest, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "fold", "group"), *rows])
    return manifest


@pytest.fixture(scope="session")
def tones(tone_clips: Path) -> Tones:
    tones = Tones(tone_clips, tone_clips.with_name("cache"), tone_clips.with_name("run"))
    overrides = [*TINY, f"data.source={tones.manifest}", f"data.cache={tones.cache}"]
    with open(os.devnull, "w") as nowhere:
        train(load_config(None, overrides), tones.run, console=Console(file=nowhere))
    return tones


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def wavenet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """wavenet("predict", run, ...) -> exit code and outputs, without a process of its own."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["wavenet", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return Done(int(str(code)), out, " ".join(err.split()))

    return call
