"""What a training does that is told nothing but its data: rate, sizes, epochs, by rules of thumb.

The rules are the configurations that are installed with the package, which were measured on data
of their kind (benchmarks/NOTES.md in the sources); here they are scaled to other data.
"""

from __future__ import annotations

import io
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from wavenet.audio.inside import inside
from wavenet.audio.opening import UNDECODABLE, soundfile
from wavenet.classifier.data import Clip, DataConfig, find_labelled
from wavenet.classifier.data.clips import Prepared, rarest_labels
from wavenet.classifier.run_config import read_yaml
from wavenet.configs import locate

# Headers that are read, of clips at equal distances.
HEADERS = 200
USUAL_RATES = (16000, 8000)
# Below so many clips the bands of a filterbank are not learned from them alone (--config esc10).
FEW = 1000
# Recordings of so many seconds are of surroundings rather than of words: --config esc10 or asc.
LONG = 2.0
# Of 32 clips: as 30 epochs of --config fsdd are, and 48 epochs of --config asc.
STEPS = 2300
STEPS_OF_WORDS = 10000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 100
TEST_FRACTION = 0.1
# Of a class: a tenth of fewer clips is no clip.
CLIPS_TO_TEST = 10
# Which a tenth of the groups takes: of fewer, one group alone is more, of two it is half the data.
GROUPS_TO_TEST = 10


class Chosen(NamedTuple):
    """A field, "section.name", its value, and why."""

    field: str
    value: object
    reason: str


def choose_settings(data: DataConfig, sample_rate: int | None = None) -> list[Chosen]:
    """What fits the recordings of a data section, by their number and headers.

    Args:
        data: the section.
        sample_rate: the model's, where it is given: sizes are for that.

    Raises:
        DataError: there are no clips.
    """
    clips = find_labelled(data, Path(data.source), min_classes=1)
    headers = _headers(clips)
    rate = sample_rate or _usual_rate([header.rate for header in headers])
    why = "as given" if sample_rate else "what most recordings have, up to 16000 Hz"
    chosen = [Chosen("model.sample_rate", rate, why)]
    few = len(clips) < FEW
    if not data.events and (_are_long(headers) or not few):
        return chosen + _as_in_one(clips, headers, rate) + _test_part(clips, data)
    step = max(1, rate // (100 if few else 1000))  # 10 ms, or 1 ms
    model: dict[str, object] = {"preset": "wavenet-small", "stem_stride": step}
    if few:
        why = f"{len(clips)} clips are few: they get a filterbank to start from"
        model |= {"input": "raw", "filters": 64, "stem_kernel_size": 5 * step // 2}
        model |= {"layers_per_stack": 5, "frame_ms": 20.0}
    else:
        why = f"{len(clips)} clips: steps of 1 ms"  # of events alone
        model |= {"stem_kernel_size": 4 * step, "dropout": 0.3}
    chosen += [Chosen(f"model.{name}", value, why) for name, value in model.items()]
    chosen += _test_part(clips, data)
    batch = 16 if few else 32
    epochs = min(_epochs(len(clips), STEPS), MOST_EPOCHS)
    training: dict[str, tuple[object, str]] = {
        "training.epochs": (epochs, f"about {STEPS} x 32 clips are heard, or {MOST_EPOCHS} epochs"),
        "training.batch_size": (batch, "of few clips" if few else "of this many clips"),
        "training.learning_rate": (3e-3 if few else 4e-3, "for batches of that size"),
        "training.weight_decay": (0.05, "against overfitting"),
        "training.label_smoothing": (0.05, "against overfitting"),
        "augmentation.gain_db": (9.0, "no two recordings are equally loud"),
        "augmentation.shift_ms": (40.0, "nor cut at the same moment"),
        "augmentation.noise_snr_db": ([15, 50], "nor made in the same room"),
    }
    if data.events:
        del training["augmentation.shift_ms"]  # times are those of the labels
    return chosen + [Chosen(name, value, why) for name, (value, why) in training.items()]


def _as_in_one(clips: Sequence[Clip], headers: Sequence[Prepared], rate: int) -> list[Chosen]:
    """The fields of a configuration that is installed, for this rate and number of clips."""
    if _are_long(headers):
        name, steps, what = "esc10", STEPS, "some seconds: as of environmental sounds"
    else:
        name, steps, what = "asc", STEPS_OF_WORDS, "a second or so: as short words"
    why = f"{len(clips)} clips of {what}, --config {name}"
    content = read_yaml(locate(Path(name)))
    model, training = content["model"], content["training"]
    usual = model.pop("sample_rate")
    halved = 2 ** model["filter_layers"]  # what a step is a multiple of
    step = halved * round(model["stem_stride"] * rate / usual / halved)
    kernel = round(model["stem_kernel_size"] * rate / usual)
    model |= {"stem_stride": step, "stem_kernel_size": kernel, "frame_ms": 1000 * step / rate}
    training["epochs"] = min(_epochs(len(clips), steps), training["epochs"])
    return [
        Chosen(f"{section}.{name}", value, why)
        for section in ("model", "augmentation", "training")
        for name, value in content[section].items()
    ]


def _epochs(clips: int, steps: int) -> int:
    """As many as come to so many steps of 32 clips, but not few."""
    return max(round(steps * 32 / clips), FEWEST_EPOCHS)


def _test_part(clips: Sequence[Clip], data: DataConfig) -> list[Chosen]:
    """A tenth of the clips where nothing else is to be tested on, and whole groups allow it."""
    split = any(clip.split == "test" for clip in clips)
    smallest = min(Counter(rarest_labels(clips)).values())
    if split or data.leave_out_group or data.leave_out_fold or smallest < CLIPS_TO_TEST:
        return []
    groups = {clip.group for clip in clips}
    by_group = data.validation_by_group and len(groups) > 1 and None not in groups
    if by_group and len(groups) < GROUPS_TO_TEST:
        why = f"a test part of whole groups is large where there are {len(groups)}: cross-validate"
        return [Chosen("data.test_fraction", 0.0, why)]
    return [Chosen("data.test_fraction", TEST_FRACTION, "the data has no test split")]


def beside(chosen: Sequence[Chosen], given: Collection[str]) -> list[Chosen]:
    """Those that are left where fields are given: who sets a size of the model sets all of them."""
    sizes = any(n.startswith("model.") and n != "model.sample_rate" for n in given)
    return [
        one
        for one in chosen
        if one.field not in given
        and not (sizes and one.field.startswith("model.") and one.field != "model.sample_rate")
    ]


def _headers(clips: Sequence[Clip]) -> list[Prepared]:
    """Of some of the clips, those that have one."""
    found = []
    for clip in clips[:: max(1, len(clips) // HEADERS)]:
        if clip.prepared is not None:
            found.append(clip.prepared)
            continue
        try:
            member = inside(clip.path)
            file = clip.path if member is None else io.BytesIO(member.read())
            header = soundfile().info(file)
            found.append(Prepared(int(header.samplerate), int(header.frames)))
        except UNDECODABLE:  # by libsndfile; what can't be read at all is said when it is checked
            continue
    return found


def _are_long(headers: Sequence[Prepared]) -> bool:
    seconds = [header.samples / header.rate for header in headers]
    return bool(seconds) and statistics.median(seconds) >= LONG


def _usual_rate(rates: Sequence[int]) -> int:
    """The highest usual one that half of the recordings have; of lower ones the median."""
    if not rates:
        return USUAL_RATES[0]
    median = int(statistics.median_high(rates))
    return next((rate for rate in USUAL_RATES if median >= rate), median)
