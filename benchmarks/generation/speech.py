"""Trains a generative model on a data set and writes what came of it, and in what time.

    python -m benchmarks speech fsdd-wavenet fsdd/manifest.csv --name fsdd-wavenet
    python -m benchmarks speech fsdd-vocoder fsdd/manifest.csv --name fsdd-vocoder
        --classifier runs/fsdd

The run folder is runs/NAME unless --run names one; an interrupted run goes on. Of the test part,
which training never heard: bits a sample, of all clips and by speaker. Of a model that is
conditioned on mel-spectrograms also copy synthesis: distances between each test clip and what is
made of its mel-spectrogram, beside those of Griffin-Lim (60 iterations) from the same frames; where
frames are centred also of both what the model made and noise, refined towards the frames (as often;
samples_per_second is of that alone); PESQ and STOI where their packages are installed; and with
--classifier how much of its accuracy on the real clips is left on those that were made. A
WaveGlow's sigma is chosen first, on the clips that its epochs were chosen on, unless --sigma gives
it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.environment import BUILD, environment, write_results
from wavenet import WaveGlow, WaveNet, load_model
from wavenet.classifier.inference.evaluate import EvaluationClips, choose_clips
from wavenet.classifier.inference.likelihood import Likelihood, likelihood
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import train
from wavenet.data.griffin_lim import griffin_lim, refine
from wavenet.generation.comparing import compare, log_spectral_distance
from wavenet.generation.recordings import frames_of, hear

ITERATIONS = 60
SIGMAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, evaluate, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speech", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", required=True, help="of the result and the run folder")
    parser.add_argument("--run", type=Path, help="the run folder, if another")
    parser.add_argument("--classifier", type=Path, help="a run that knows the clips' labels")
    parser.add_argument("--sigma", type=float, help="of a WaveGlow's noise")
    parser.add_argument("--every", type=int, default=1, help="of copy synthesis: each n-th clip")
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--out", type=Path, help="file; by default in build/bench/")
    options = parser.parse_args(arguments)

    where = environment()  # the commit that runs, whatever is edited meanwhile
    source = f"data.source={json.dumps(str(options.data.resolve()))}"
    config = load_config(options.config, [*options.set, source])
    run = options.run or Path("runs") / options.name
    result = train(config, run, resume=True)
    model = load_model(run)
    assert isinstance(model, WaveNet | WaveGlow)
    chosen = choose_clips(run, model.config, None, "test")
    content = {
        **{"benchmark": "speech", "name": options.name, "config": options.config.name},
        **{"changed": options.set, "protocol": "the data's own test split"},
        **likely(model, chosen),
        "validation_bits": result.best["validation_bits"],
        **{"epochs": result.epochs, "steps": result.steps},
        "training_seconds": round(result.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "receptive_field_ms": model.receptive_field_ms,
    }
    if model.config.mel is not None:
        labels = labels_of(options.data) if options.classifier else {}
        sigma, choice = options.sigma, {}
        if isinstance(model, WaveGlow) and sigma is None:
            sigma, choice = chosen_sigma(model, choose_clips(run, model.config, None, "validation"))
        content["copy_synthesis"] = choice | copied(
            model, chosen, options.every, options.classifier, labels, sigma
        )
    write_results(options.out or BUILD / f"speech-{options.name}.json", {**content, **where})


def likely(model: WaveNet | WaveGlow, chosen: EvaluationClips) -> dict[str, Any]:
    """Bits a sample of the test clips."""
    found = likelihood(model, chosen.clips, chosen.cache, max_samples=chosen.max_samples)
    bits = model.bits_of(found.loss)
    print(f"test: {bits:.4f} bits a sample ({model.bits_counted})")
    speakers = {}
    for name in getattr(model.config, "speakers", ()):
        rows = [row for row, clip in enumerate(chosen.clips) if clip.label == name]
        part = Likelihood(found.nats[rows], found.samples[rows])
        speakers[name] = round(model.bits_of(part.loss), 4)
    return {
        "test_bits_per_sample": bits,
        "counted": model.bits_counted,
        "test_clips": len(chosen.clips),
        "test_samples": int(found.samples.sum()),
        "test_bits_by_speaker": speakers,
    }


def copied(
    model: WaveNet | WaveGlow,
    chosen: EvaluationClips,
    every: int,
    classifier: Path | None,
    labels: dict[Path, str],
    sigma: float | None,
) -> dict[str, Any]:
    """Copy synthesis of the test clips by the model and by Griffin-Lim from the same frames."""
    clips = chosen.clips[::every]
    recordings = [torch.from_numpy(chosen.cache.open_clip(clip).copy()) for clip in clips]
    made: dict[str, list[Tensor]] = {}
    makers: dict[str, Callable[[int, Tensor], Tensor]] = {
        "model": lambda _, wave: vocoded(model, wave, sigma),
        "griffin_lim": lambda _, wave: without_network(model, wave),
    }
    if model.config.mel is not None and model.config.mel.padding == "reflect":
        makers["refined"] = lambda number, wave: refined(model, made["model"][number], wave)
        makers["refined_noise"] = lambda number, wave: refined(model, noise(wave, number), wave)
    said: dict[str, Any] = {"clips": len(clips), "iterations": ITERATIONS}
    if isinstance(model, WaveGlow):
        said["sigma"] = sigma
    for name, make in makers.items():
        started = time.perf_counter()
        made[name] = [make(number, wave) for number, wave in enumerate(recordings)]
        seconds = time.perf_counter() - started
        pairs = zip(made[name], recordings, strict=True)
        figures = [compare(one, wave, model.config.sample_rate) for one, wave in pairs]
        said[name] = summary(figures) | {
            "samples_per_second": round(sum(map(len, made[name])) / seconds)
        }
        print(f"{name}: {said[name]}")
    if classifier is not None:
        truth = [labels[clip.path.resolve()] for clip in clips]
        said["classifier"] = {
            name: recognised(classifier, sounds, truth, model.config.sample_rate)
            for name, sounds in {"real": recordings, **made}.items()
        }
        print(f"recognised: {said['classifier']}")
    return said


def chosen_sigma(model: WaveGlow, chosen: EvaluationClips) -> tuple[float, dict[str, Any]]:
    """The one whose copies are nearest to the clips in log-spectral distance, and all distances."""
    recordings = [torch.from_numpy(chosen.cache.open_clip(clip).copy()) for clip in chosen.clips]

    def distance(wave: Tensor, sigma: float) -> float:
        made = vocoded(model, wave, sigma)[: len(wave)]
        return log_spectral_distance(made, wave, model.config.sample_rate)

    distances = {
        sigma: statistics.mean(distance(wave, sigma) for wave in recordings) for sigma in SIGMAS
    }
    best = min(distances, key=lambda sigma: distances[sigma])
    said = {str(sigma): round(mean, 4) for sigma, mean in distances.items()}
    print(f"sigma {best}: log-spectral distances of validation clips {said}")
    return best, {"sigma_chosen_on": {"validation_clips": len(recordings), "distance_db": said}}


def vocoded(model: WaveNet | WaveGlow, recording: Tensor, sigma: float | None) -> Tensor:
    """What the model makes of a recording's frames."""
    heard = hear(recording, model.config)
    assert heard.mel is not None
    if isinstance(model, WaveGlow):
        assert sigma is not None
        return model.infer(heard.mel[None], sigma=sigma, seed=0)[0]
    sound = model.generate(heard.mel[None], samples=len(heard.waveform), seed=0)
    assert isinstance(sound, Tensor)
    return sound[0]


def without_network(model: WaveNet | WaveGlow, recording: Tensor) -> Tensor:
    """What Griffin-Lim makes of the same frames."""
    assert model.config.mel is not None
    return griffin_lim(frames_of(recording, model.config)[None], model.config.mel, ITERATIONS)[0]


def refined(model: WaveNet | WaveGlow, sound: Tensor, recording: Tensor) -> Tensor:
    """Sound brought nearer to a recording's frames."""
    assert model.config.mel is not None
    mel = frames_of(recording, model.config)[None]
    return refine(sound[None], mel, model.config.mel, ITERATIONS)[0]


def noise(recording: Tensor, seed: int) -> Tensor:
    """What refining makes of it no network had a part in."""
    generator = torch.Generator().manual_seed(seed)
    return 0.01 * torch.randn(len(recording), generator=generator)


def summary(figures: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means; of PESQ and STOI over the clips that they could judge, whose number is said."""
    names = dict.fromkeys(name for each in figures for name in each)
    said: dict[str, Any] = {}
    for name in names:
        values = [each[name] for each in figures if name in each]
        said[name] = round(statistics.mean(values), 4)
        if len(values) < len(figures):
            said[f"{name}_clips"] = len(values)
    return said


def labels_of(data: Path) -> dict[Path, str]:
    """The labels that the data gives its clips, by file."""
    from wavenet.classifier.data import find_clips

    return {clip.path.resolve(): clip.label for clip in find_clips(data)}


@torch.no_grad()
def recognised(run: Path, sounds: Sequence[Tensor], truth: Sequence[str], rate: int) -> float:
    """The share of sounds that a classifier takes for what they are to be."""
    from wavenet import WaveNetClassifier

    classifier = load_model(run)
    assert isinstance(classifier, WaveNetClassifier) and classifier.config.sample_rate == rate
    names = classifier.config.labels
    right = 0
    for sound, label in zip(sounds, truth, strict=True):
        logits = classifier(sound[None], torch.tensor([len(sound)]))
        right += names[int(logits.argmax())] == label
    return round(right / len(truth), 4)
