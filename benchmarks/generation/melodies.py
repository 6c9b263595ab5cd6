"""Trains a WaveNet that plays from notes, lets it play melodies it never heard, and listens.

    python -m benchmarks melodies --work runs/melodies

Under --work go the synthesised melodies (`wavenet synth --kind melodies`) and the run of
`--config melodies`; an interrupted run goes on. The network plays the note tracks of the test part
on their instruments. A note counts as followed where the pitch that is heard in it, by
autocorrelation, lies within half a semitone of the one that is written; where no pitch is heard it
doesn't. Beside it the same of the test recordings themselves, which says how good the ear is, and
of the network playing other notes than those that are counted, which says what chance gives.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.environment import BUILD, environment, write_results
from wavenet import WaveNet, load_model
from wavenet.classifier.data.parts import notes_in
from wavenet.classifier.data.synth import write_data_set
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.inference.likelihood import likelihood
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training import train
from wavenet.data.notes import Note, hz_of
from wavenet.generation.recordings import hear

BETWEEN_HZ = (100.0, 1000.0)
# Seconds at a note's beginning and end that are not listened to.
MARGIN = 0.02
# What a tone's best correlation with itself is at least, and another that is as good as the best.
TONAL, AS_GOOD = 0.5, 0.9

Array = NDArray[np.floating[Any]]


class Heard(NamedTuple):
    """A note that was to be played, on what, and how far off it is in semitones; None: no pitch."""

    note: Note
    instrument: str
    off: float | None

    @property
    def followed(self) -> bool:
        """Whether the pitch is the one that is written, and no neighbour."""
        return self.off is not None and abs(self.off) < 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, synthesise, train, play, listen, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks melodies", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/melodies"))
    parser.add_argument("--clips-per-class", type=int, default=300)
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--out", type=Path, help="file; by default in build/bench/")
    options = parser.parse_args(arguments)

    where = environment()  # the commit that runs, whatever is edited meanwhile
    tunes, run = options.work / "tunes", options.work / "run"
    count = options.clips_per_class
    manifest = write_data_set(tunes, kind="melodies", clips_per_class=count, sample_rate=8000)
    source = f"data.source={json.dumps(str(manifest.resolve()))}"
    result = train(load_config(Path("melodies"), [*options.set, source]), run, resume=True)
    model = load_model(run)
    assert isinstance(model, WaveNet)
    chosen = choose_clips(run, model.config, None, "test")
    tracks = [notes_in(clip, model.config) for clip in chosen.clips]
    players = [clip.label for clip in chosen.clips]
    recordings = [chosen.cache.open_clip(clip) for clip in chosen.clips]
    played = play(model, tracks, players, [len(recording) for recording in recordings])
    others = [*tracks[1:], tracks[0]]
    rate = model.config.sample_rate
    found = likelihood(model, chosen.clips, chosen.cache)
    content = {
        **{"benchmark": "melodies", "config": "melodies", "changed": options.set},
        **{"clips_per_class": count, "test_clips": len(chosen.clips)},
        "test_bits_per_sample": round(model.bits_of(found.loss), 4),
        "counted": model.bits_counted,
        "generated": said_of(listen(played, tracks, players, rate)),
        "recordings": said_of(listen(recordings, tracks, players, rate)),
        "chance": said_of(listen(played, others, players, rate)),
        **{"epochs": result.epochs, "steps": result.steps},
        "training_seconds": round(result.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    for name in ("generated", "recordings", "chance"):
        print(f"{name}: {content[name]}")
    write_results(options.out or BUILD / "melodies.json", {**content, **where})


def play(
    model: WaveNet,
    tracks: Sequence[Sequence[Note]],
    instruments: Sequence[str],
    lengths: Sequence[int],
) -> list[Array]:
    """The tracks on the instruments, so many samples of each, every one by its own seed."""
    sounds: list[Array] = []
    pieces = zip(tracks, instruments, lengths, strict=True)
    for seed, (track, instrument, length) in enumerate(pieces):
        frames = hear(torch.zeros(length), model.config, notes=track).mel
        assert frames is not None
        sound = model.generate(frames[None], samples=length, speaker=instrument, seed=seed)
        assert isinstance(sound, torch.Tensor)
        sounds.append(sound[0].numpy())
    return sounds


def listen(
    sounds: Iterable[Array],
    tracks: Iterable[Sequence[Note]],
    instruments: Iterable[str],
    rate: int,
) -> list[Heard]:
    """What is heard of each note of each track."""
    heard = []
    for sound, track, instrument in zip(sounds, tracks, instruments, strict=True):
        for note in track:
            begin, end = round((note.onset + MARGIN) * rate), round((note.offset - MARGIN) * rate)
            pitch = pitch_of(sound[begin:end], rate)
            off = None if pitch is None else 12 * math.log2(pitch / hz_of(note.pitch))
            heard.append(Heard(note, instrument, off))
    return heard


def pitch_of(sound: Array, rate: int) -> float | None:
    """The pitch of a steady tone in Hz; None where there is none.

    The first lag at which the tone is as much like itself as at any: a correlation normalised by
    the energy of what overlaps, so that a decay does no harm (McLeod and Wyvill 2005, section 4).
    """
    samples = np.asarray(sound, np.float64) - np.mean(sound)
    shortest, longest = (round(rate / hz) for hz in reversed(BETWEEN_HZ))
    longest = min(longest, len(samples) // 2)
    lags = range(shortest - 1, longest + 2)
    if len(lags) < 3 or not np.any(samples):
        return None
    pairs = [(samples[: len(samples) - lag], samples[lag:]) for lag in lags]
    like = np.array([2 * np.dot(a, b) / (np.dot(a, a) + np.dot(b, b) + 1e-12) for a, b in pairs])
    peaks = 1 + np.flatnonzero((like[1:-1] >= like[:-2]) & (like[1:-1] > like[2:]))
    if not len(peaks) or like[peaks].max() < TONAL:
        return None
    peak = peaks[like[peaks] >= AS_GOOD * like[peaks].max()][0]
    before, at, after = like[peak - 1 : peak + 2]
    vertex = 0.5 * (before - after) / (before - 2 * at + after)  # of the parabola through them
    return float(rate / (lags[peak] + vertex))


def said_of(heard: Sequence[Heard]) -> dict[str, Any]:
    """Shares of notes that are followed, of all and by instrument."""

    def share(some: Sequence[Heard]) -> float:
        return round(statistics.mean(one.followed for one in some), 4)

    instruments = sorted({one.instrument for one in heard})
    off = [100 * abs(one.off) for one in heard if one.off is not None and one.followed]
    return {
        "notes": len(heard),
        "within_half_a_semitone": share(heard),
        "by_instrument": {
            name: share([one for one in heard if one.instrument == name]) for name in instruments
        },
        "without_pitch": sum(one.off is None for one in heard),
        "median_cents_off": round(statistics.median(off), 1) if off else None,
    }
