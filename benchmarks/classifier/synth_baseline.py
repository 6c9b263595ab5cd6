"""How far a linear model on the mean spectrum gets on the synthesised sounds.

The mean spectrum says which frequencies a clip holds and nothing about when. What a network that
hears time adds is its accuracy minus this. Four forms of mean spectrum and a range of penalties
are tried, the best on the validation clips is measured on the test clips.

    python -m benchmarks synth-baseline [--out FILE.json] [--sample-rate 8000] [--seed 0]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.environment import BUILD, environment
from wavenet.audio import read_audio
from wavenet.classifier.data import Clip, find_clips, labels_of, select
from wavenet.classifier.data.synth import write_data_set
from wavenet.files import replace_file

WINDOW_MS, HOP_MS, MEL_BANDS = 32, 16, 40
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C: smaller is stronger


def power_spectra(clip: Clip, rate: int) -> np.ndarray:
    """(frames, bins) power of Hann windows."""
    x = read_audio(clip.path, rate).numpy()
    size, hop = rate * WINDOW_MS // 1000, rate * HOP_MS // 1000
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2


def mel_filters(bins: int, rate: int) -> np.ndarray:
    """(bins, bands) triangles, evenly spaced on the mel scale from 60 Hz up."""
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (60, rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, MEL_BANDS + 2) / 2595) - 1)
    f = np.linspace(0, rate / 2, bins)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0, np.minimum((f - low) / (centre - low), (high - f) / (high - centre)))


def features(clips: list[Clip], rate: int) -> dict[str, np.ndarray]:
    """Each form of mean log-power spectrum, (clips, bands)."""
    spectra = [power_spectra(clip, rate) for clip in clips]
    filters = mel_filters(spectra[0].shape[1], rate)
    floor = 1e-10
    return {
        "log of mean power": np.stack([np.log(s.mean(0) + floor) for s in spectra]),
        "mean of log power": np.stack([np.log(s + floor).mean(0) for s in spectra]),
        "log of mean mel power": np.stack([np.log(s.mean(0) @ filters + floor) for s in spectra]),
        "mean of log mel power": np.stack([np.log(s @ filters + floor).mean(0) for s in spectra]),
    }


def measure(folder: Path, rate: int) -> dict[str, object]:
    """Accuracies of the linear model that validation chooses."""
    clips = find_clips(folder)
    labels = labels_of(clips)
    parts = {split: select(clips, split=split) for split in ("train", "validation", "test")}
    x = {split: features(part, rate) for split, part in parts.items()}
    y = {split: [labels.index(clip.label) for clip in part] for split, part in parts.items()}
    scored = []
    for form, penalty in itertools.product(x["train"], PENALTIES):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=2000))
        model.fit(x["train"][form], y["train"])
        scored.append((model.score(x["validation"][form], y["validation"]), form, penalty, model))
    validation, form, penalty, model = max(scored, key=lambda entry: entry[0])
    predicted = model.predict(x["test"][form])
    truth = np.array(y["test"])
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "accuracy_by_class": {
            label: float(np.mean(predicted[truth == number] == number))
            for number, label in enumerate(labels)
        },
        "validation_accuracy": float(validation),
        "chosen": {"features": form, "C": penalty},
        "clips": {split: len(part) for split, part in parts.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks synth-baseline", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=BUILD / "synth-linear-baseline.json")
    parser.add_argument("--clips-per-class", type=int, default=300)
    parser.add_argument("--sample-rate", type=int, default=8000, help="in Hz")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of a clip")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    made_with = {
        "clips_per_class": options.clips_per_class,
        "validation": 0.1,
        "test": 0.2,
        "sample_rate": options.sample_rate,
        "seconds": options.seconds,
        "seed": options.seed,
    }
    where = environment()  # the commit that runs, whatever is edited meanwhile
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_data_set(Path(folder) / "synth", **made_with)
        synthesised = time.perf_counter()
        result = measure(Path(folder) / "synth", options.sample_rate)
    record = {
        "benchmark": "synth-linear-baseline",
        **result,
        "protocol": (
            "logistic regression on standardised mean log-power spectra "
            f"({WINDOW_MS} ms Hann windows every {HOP_MS} ms); form of the mean and penalty chosen "
            "on the validation split, fitted on the train split, accuracy on the test split"
        ),
        "data": made_with,
        "seed": options.seed,
        "seconds_to_synthesise": round(synthesised - started, 2),
        "seconds_to_measure": round(time.perf_counter() - synthesised, 2),
        **where,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.out, json.dumps(record, indent=2) + "\n")
    print(f"{result['accuracy']:.1%} of the test clips by {result['chosen']}; {options.out}")
