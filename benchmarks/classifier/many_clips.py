"""An epoch of many short clips in tar files: start-up, memory over time, waiting for data.

    python -m benchmarks many-clips                      # 200,000 clips; made first, once
    python -m benchmarks many-clips --clips 20000 --workers 0

The clips are tones in noise, a third to two thirds of a second at 8 kHz, as `wavenet prepare` would
write them. The network is small: what is measured are the data. The folder is kept; memory is that
of this process and, with workers, of the largest of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.classifier.listening import memory_mib
from benchmarks.environment import BUILD, environment, write_results
from wavenet.classifier.data.layouts import MANIFEST_NAME
from wavenet.classifier.data.shards import ShardWriter, append_rows
from wavenet.classifier.run_config import load_config
from wavenet.classifier.training.batches import TrainingBatches
from wavenet.classifier.training.processes import processes
from wavenet.classifier.training.tasks import task_of

RATE = 8000
CLASSES = 10
SHARD_MB = 64
READINGS = 40
OVERRIDES = [
    f"model.sample_rate={RATE}",
    "model.stem_stride=8",
    "model.stem_kernel_size=32",
    "model.residual_channels=16",
    "model.dilation_channels=16",
    "model.skip_channels=16",
    "model.layers_per_stack=6",
    "model.stacks=1",
    "model.head_channels=16",
    "training.epochs=1",
    "training.device=cpu",
    "data.validation_fraction=0.01",
]


def make_corpus(folder: Path, clips: int) -> float:
    """Write the clips, unless they are there; the seconds that took."""
    if (folder / MANIFEST_NAME).exists():
        return 0.0
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    writer, random = ShardWriter(folder, 0, SHARD_MB), np.random.default_rng(0)
    rows = []
    for number in range(clips):
        label = number % CLASSES
        t = np.arange(int(RATE * random.uniform(1 / 3, 2 / 3))) / RATE
        pitch = 200 * 1.3**label * random.uniform(0.95, 1.05)
        sound = 0.3 * np.sin(2 * np.pi * pitch * t) + 0.05 * random.standard_normal(t.size)
        samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
        content = io.BytesIO()
        soundfile.write(content, samples, RATE, format="FLAC", subtype="PCM_16")
        known = {
            "label": str(label),
            "prepared_rate": RATE,
            "prepared_samples": len(samples),
            "digest": hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest(),
        }
        writer.add(f"{number:09d}", content.getvalue(), known)
        if writer.full:
            rows += writer.close()
    append_rows(folder / MANIFEST_NAME, [*rows, *writer.close()])
    return time.perf_counter() - started


def train_an_epoch(folder: Path, workers: int) -> dict[str, object]:
    """The figures of an epoch."""
    started, before = time.perf_counter(), memory_mib()
    config = load_config(None, [*OVERRIDES, f"data.source={folder}", f"data.workers={workers}"])
    with processes("cpu") as accelerator:
        task = task_of(config)
        data = task.prepare(lambda done, total: None)
        torch.manual_seed(0)
        model = task.model(data)
        batches = TrainingBatches(config, data, accelerator, task)
        learner = task.learner(model, accelerator, len(batches))
        every = max(1, len(batches) // READINGS)
        memory: list[float] = []
        waited, clips, ready = 0.0, 0, 0.0
        asked = time.perf_counter()
        for step, (count, parts) in enumerate(batches.epoch(0)):
            loaded = list(parts)
            if step:
                waited += time.perf_counter() - asked
            else:
                ready = time.perf_counter()
            learner.step(loaded, count, step)
            clips += count
            if step % every == 0:
                memory.append(memory_mib())
            asked = time.perf_counter()
        seconds = time.perf_counter() - ready
    return {
        "clips": clips,
        "workers": workers,
        "seconds_to_the_first_step": ready - started,
        "seconds": seconds,
        "clips_per_second": clips / seconds,
        "waiting_for_data": waited / seconds,
        "memory_mib_before": before,
        "memory_mib": memory,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, make the clips, train, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks many-clips", description=__doc__)
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/many-clips"))
    parser.add_argument("--out", type=Path, default=BUILD / "many-clips.json")
    options = parser.parse_args(arguments)

    where = environment()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - options.workers))
    made = make_corpus(options.folder / str(options.clips), options.clips)
    found = train_an_epoch(options.folder / str(options.clips), options.workers)
    memory = found["memory_mib"]
    assert isinstance(memory, list)
    half = memory[len(memory) // 2 :]
    print(
        f"{found['clips']:,} clips, made in {made:.0f} s: first step after "
        f"{found['seconds_to_the_first_step']:.1f} s, {found['clips_per_second']:.0f} clips a "
        f"second, {found['waiting_for_data']:.1%} of the time waiting for data; memory "
        f"{memory[0]:.0f} MiB at the first step, {min(half):.0f} to {max(half):.0f} in the second "
        "half"
    )
    write_results(
        options.out, {"benchmark": "many-clips", "seconds_to_make": made, **found, **where}
    )


if __name__ == "__main__":
    main()
