"""The ten digits in thirteen synthetic voices: speakers for a data set that has few.

    apt install flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts
    pip install --no-build-isolation ttspico
    python -m benchmarks.spoken_digits runs/spoken-digits

Writes FOLDER/DIGIT/VOICE-TAKE.wav at 8 kHz, a folder that `wavenet train --extra` takes. Every take
has another tempo and pitch, drawn by the seed. The voices are those of Flite and Festival, made of
recordings of American and Scottish speakers, and of SVOX Pico, of which the German, French, Italian
and Spanish ones say English words with what sounds their languages have.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
PEAK = 0.5
SILENCE_DB = -34  # below the loudest hundredth of a second: what is cut off at both ends
MARGIN = (1, 2)  # hundredths of a second that stay before and after


class Take(NamedTuple):
    """One thing to say: its duration and pitch are those of the voice times these factors."""

    digit: int
    duration: float
    pitch: float
    ending: str
    path: Path


def flite(voice: str, hertz: float, takes: Sequence[Take]) -> None:
    """One process for each take."""
    for take in takes:
        manner = [f"duration_stretch={take.duration:.3f}"]
        manner.append(f"int_f0_target_mean={take.pitch * hertz:.1f}")
        settings = [part for value in manner for part in ("--setf", value)]
        text = WORDS[take.digit] + take.ending
        subprocess.run(["flite", "-voice", voice, *settings, "-t", text, take.path], check=True)


def festival(voice: str, hertz: float | None, takes: Sequence[Take]) -> None:
    """One process for all takes, as loading a voice takes a second; no pitch where it has none."""
    lines = [f"(voice_{voice})"]
    for take in takes:
        lines.append(f"(Parameter.set 'Duration_Stretch {take.duration:.3f})")
        if hertz is not None:
            target = f"(target_f0_mean {take.pitch * hertz:.1f}) (target_f0_std 15)"
            lines.append(f"(set! int_lr_params '({target} (model_f0_mean 170) (model_f0_std 34)))")
        text = f'(utt.synth (Utterance Text "{WORDS[take.digit]}{take.ending}"))'
        lines.append(f'(utt.save.wave {text} "{take.path}" \'riff)')
    script = takes[0].path.with_name("takes.scm")
    script.write_text("\n".join(lines))
    subprocess.run(["festival", "-b", script], check=True)


def pico(voice: str, spoken: Sequence[str], takes: Sequence[Take]) -> None:
    """`spoken`: the words in the voice's own spelling, or its sounds in X-SAMPA, in tags."""
    import ttspico

    engine = ttspico.TtsEngine(voice)
    for take in takes:
        pitch, speed = round(100 * take.pitch), round(100 / take.duration)
        text = f"{spoken[take.digit]}{take.ending}"
        said = engine.speak(f'<pitch level="{pitch}"><speed level="{speed}">{text}</speed></pitch>')
        soundfile.write(take.path, np.frombuffer(said, "<i2"), 16000, subtype="PCM_16")


def sounds(words: str) -> list[str]:
    """Pico's tags for words in X-SAMPA."""
    return [f'<phoneme alphabet="xsampa" ph="{word}"/>' for word in words.split()]


VOICES: dict[str, Callable[[Sequence[Take]], None]] = {
    "flite-kal": functools.partial(flite, "kal", 100),
    "flite-awb": functools.partial(flite, "awb", 110),
    "flite-rms": functools.partial(flite, "rms", 95),
    "flite-slt": functools.partial(flite, "slt", 170),
    "festival-kal": functools.partial(festival, "kal_diphone", 110),
    "festival-ked": functools.partial(festival, "ked_diphone", 110),
    "festival-slt": functools.partial(festival, "cmu_us_slt_arctic_hts", None),
    "pico-gb": functools.partial(pico, "en-GB", WORDS),
    "pico-us": functools.partial(pico, "en-US", WORDS),
    "pico-de": functools.partial(
        pico, "de-DE", sounds("zi:Ro: van tu: tRi: fo:6 faIf zIks zEv@n e:t naIn")
    ),
    "pico-fr": functools.partial(
        pico, "fr-FR", sounds("zeRo wan tu sRi foR fajv siks sEvEn Ejt najn")
    ),
    "pico-it": functools.partial(
        pico, "it-IT", "siro uan tu tri for faiv sics seven eit nain".split()
    ),
    "pico-es": functools.partial(
        pico, "es-ES", "siro uan tu zri for faif sics seben eit nain".split()
    ),
}


def cut(x: np.ndarray, rate: int) -> np.ndarray:
    """The mono waveform (T,) without silence at its ends, at RATE and with the peak PEAK."""
    size = rate // 100
    frames = x[: len(x) // size * size].reshape(-1, size)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > level.max() * 10 ** (SILENCE_DB / 20))
    before, after = MARGIN
    x = x[max(0, loud[0] - before) * size : (loud[-1] + 1 + after) * size]
    x = soxr.resample(x, rate, RATE)
    return x * (PEAK / np.abs(x).max())


def speak(voice: str, folder: Path, count: int, seed: int) -> None:
    """Write `count` takes of every digit."""
    rng = np.random.default_rng([seed, zlib.crc32(voice.encode())])
    with tempfile.TemporaryDirectory() as raw:
        takes = [
            Take(
                digit,
                duration=rng.uniform(0.75, 1.5),
                pitch=rng.uniform(0.7, 1.3),
                ending=str(rng.choice([".", "?", ""])),
                path=Path(raw) / f"{digit}-{number:02d}.wav",
            )
            for digit in range(10)
            for number in range(count)
        ]
        VOICES[voice](takes)
        for take in takes:
            if not take.path.exists():
                raise SystemExit(
                    f"{voice} says nothing; is its package installed? (--help names it)"
                )
            x, rate = soundfile.read(take.path, dtype="float32")
            target = folder / str(take.digit) / f"{voice}-{take.path.stem[2:]}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, cut(x, rate), RATE, subtype="PCM_16")


def main() -> None:
    """Parse the command line; all voices, several at a time."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.spoken_digits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--takes", type=int, default=16, help="of each digit by each voice")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} is there already; accepted is a new folder")
    absent = [program for program in ("flite", "festival") if not shutil.which(program)]
    absent += [] if importlib.util.find_spec("ttspico") else ["ttspico"]
    if absent:
        parser.error(f"{' and '.join(absent)} can't be found; --help says how to install it")
    with ThreadPoolExecutor() as pool:
        arguments = (options.folder, options.takes, options.seed)
        for _ in pool.map(lambda voice: speak(voice, *arguments), VOICES):
            pass
    print(f"wrote {len(VOICES) * options.takes * 10} clips to {options.folder}")


if __name__ == "__main__":
    main()
