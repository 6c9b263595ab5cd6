"""What the commands of the docs name and a user would have: recordings, manifests, models.

Small, and made when a command first names them; a block of commands gets copies of its own.
"""

from __future__ import annotations

import csv
import itertools
import math
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile
import torch
from doc_blocks import ROOT
from small_generators import MEL, small_generator
from small_runs import OVERRIDES, quiet

from benchmarks.amplifier.network import Network, write_theirs
from wavenet import WaveGlow, WaveGlowConfig
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import train
from wavenet.convert import to_waveglow
from wavenet.data.mel import MelConfig

RATE = 8000
PITCHES = {"dog": 200, "cat": 500, "rain": 1100, "hail": 2400}
SHORT = ["model.sample_rate=8000", "training.epochs=1"]
MAKES = ("--out", "synth")  # what comes after it
_numbers = itertools.count()


def tone(pitch: float, seconds: float) -> np.ndarray:
    """With some noise, never twice the same."""
    random = np.random.default_rng(next(_numbers))
    t = np.arange(int(RATE * seconds * random.uniform(0.8, 1.2))) / RATE
    wave = 0.4 * np.sin(2 * math.pi * pitch * random.uniform(0.95, 1.05) * t)
    return wave + 0.02 * random.standard_normal(t.size)


def recording(path: Path, pitch: float = 440.0, seconds: float = 0.3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(pitch, seconds), RATE)


def table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A manifest."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def classes(folder: Path, seconds: float = 0.3) -> None:
    """A sub-folder for each class."""
    for label, pitch in PITCHES.items():
        for i in range(10):
            recording(folder / label / f"{label}_{i}.wav", pitch, seconds)


def unlabelled(folder: Path) -> None:
    for i in range(3):
        recording(folder / f"{i}.wav")


def words(folder: Path) -> None:
    classes(folder)
    recording(folder / "_background_noise_" / "street.wav", seconds=20)


def fsdd(folder: Path) -> None:
    """The checkout, as small as it may be, and the manifest that the example makes of it."""
    rows = []
    for digit, speaker, take in itertools.product(
        (0, 1), ("george", "jackson", "theo"), range(2, 9)
    ):
        name = f"recordings/{digit}_{speaker}_{take}.wav"
        recording(folder / name, 300 * (digit + 1))
        rows.append((name, digit, "test" if take < 5 else "train", speaker))
    table(folder / "manifest.csv", ("path", "label", "split", "group"), rows)


def listed(path: Path, shown: str) -> None:
    """The rows that the page shows, eight times, with recordings; else those of columns that
    have to be named."""
    rows = list(csv.reader(shown.splitlines()))
    if not rows:
        names = (("dog", "ann"), ("rain", "ann"), ("dog", "ben"), ("rain", "ben"))
        rows = [["wav", "what", "who"], *([f"{a}-{b}.wav", a, b] for a, b in names)]
    copies = [[f"{i}-{name}", *rest] for i in range(8) for name, *rest in rows[1:]]
    for name in sorted({row[0] for row in copies}):
        recording(path.parent / name, seconds=10 if "onset" in rows[0] else 0.3)
    table(path, rows[0], copies)


def classifier(run: Path) -> None:
    """Trained, but not for long."""
    classes(run.with_name("heard"))
    source = [f"data.source={run.with_name('heard')}", "data.test_fraction=0.2"]
    train(load_config(None, [*OVERRIDES, *SHORT, *source]), run, console=quiet())


def swept(path: Path, shown: str) -> None:
    """A configuration of a small model, with the section that the page shows."""
    load_config(None, [*OVERRIDES, *SHORT]).save(path)
    path.write_text(path.read_text() + shown)


def generator(case: str) -> Callable[[Path], None]:
    return lambda path: small_generator(case).save_pretrained(path)


def glow(mel: MelConfig) -> WaveGlow:
    torch.manual_seed(0)
    sizes = {"flows": 2, "layers": 2, "channels": 4}
    return WaveGlow(WaveGlowConfig(sample_rate=mel.sample_rate, mel=mel, **sizes))


def linked(path: Path) -> None:
    """A folder of the checkout, and beside it the one that has the version."""
    path.symlink_to(ROOT / path.name)
    if not (version := path.with_name("wavenet_kernels")).exists():
        version.symlink_to(ROOT / version.name)


def results(path: Path) -> None:
    """Something that was measured."""
    name = "overhead-cpu-avx2-float32.json"
    for folder in (path / "results", path.with_name("build") / "bench"):
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "benchmarks" / "results" / name, folder)


MAKERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(("recordings", "others", "few"), classes),
    "sounds": lambda path: classes(path, seconds=1.0),  # longer than the receptive field
    "words": words,
    "folder": unlabelled,
    "day.flac": lambda path: recording(path, seconds=5),
    "fsdd": fsdd,
    "manifest.csv": lambda path: fsdd(path.parent),
    "tune.txt": lambda path: path.write_text("0\t0.1\tC4\n0.1\t0.3\t64\n"),
    "runs/voices": generator("speakers"),
    "runs/vocoder": generator("mel repeated"),
    "runs/glow": lambda path: glow(MEL).save_pretrained(path),
    "waveglow_256channels.pt": lambda path: to_waveglow(glow(MelConfig.tacotron2()), path),
    "clean.nam": lambda path: write_theirs(Network.drawn(gated=False), path),
    **dict.fromkeys(("csrc", "examples"), linked),
    "benchmarks": results,
}
# By what the page shows above the commands.
SHOWN: dict[str, Callable[[Path, str], object]] = {
    "list.csv": listed,
    "map.csv": lambda path, shown: path.write_text(shown),
    "mine.yaml": swept,
}


class Things:
    """What a block of commands finds in its folder."""

    def __init__(self, folder: Path, shown: str, trained: Callable[[], Path]) -> None:
        self._folder, self._shown, self._trained = folder, shown, trained

    def provide(self, command: str) -> set[str]:
        """Make what a command names and nothing before it made; what it makes itself."""
        words = shlex.split(command)
        made = {after for word, after in itertools.pairwise(words) if word in MAKES}
        for word in words:
            named = word.partition("=")[2] or word  # --set data.label_map=map.csv
            parts = named.rstrip("/").split("/")
            for known in (parts[0], "/".join(parts[:2])):
                if word not in made and not (self._folder / known).exists():
                    self._make(known)
        return made

    def _make(self, known: str) -> None:
        path = self._folder / known
        path.parent.mkdir(parents=True, exist_ok=True)
        if known == "runs/mine":
            shutil.copytree(self._trained(), path)
        elif known in SHOWN:
            SHOWN[known](path, self._shown)
        elif known in MAKERS:
            MAKERS[known](path)
