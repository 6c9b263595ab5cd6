"""An hour of audio through a StreamingClassifier on one thread: memory over time, and speed.

    python -m benchmarks listening                       # the small preset, at 16 kHz
    python -m benchmarks listening --config fsdd --minutes 10

The signal is noise whose loudness wanders, as 16-bit PCM in chunks of 0.1 s. Weights are random:
neither memory nor speed depends on them. Before that, the decision about 10 s is compared with the
model's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.environment import BUILD, environment, write_results
from wavenet import StreamingClassifier, WaveNetClassifier
from wavenet.audio import pcm_blocks
from wavenet.classifier.run_config import load_config

CHUNK_SECONDS = 0.1


class Noise:
    """A file of 16-bit PCM that is made as it is read."""

    def __init__(self, samples: int, seed: int = 0) -> None:
        self.left = samples
        self.random = np.random.default_rng(seed)

    def read(self, size: int) -> bytes:
        count = min(size // 2, self.left)
        self.left -= count
        loudness = 10 ** self.random.uniform(1, 4)
        return (
            (loudness * self.random.standard_normal(count))
            .clip(-32767, 32767)
            .astype("<i2")
            .tobytes()
        )


def memory_mib() -> float:
    """What this process holds in memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")


def difference_from_offline(model: WaveNetClassifier, seconds: int = 10) -> float:
    """Of the logits about the first seconds, streamed and at once."""
    rate = model.config.sample_rate
    listener = StreamingClassifier(model, window_seconds=None)
    chunks = list(pcm_blocks(Noise(seconds * rate), rate, block_seconds=CHUNK_SECONDS))
    for chunk in chunks:
        listener.push(chunk)
    with torch.inference_mode():
        offline = model(torch.cat(chunks).unsqueeze(0))[0]
    return float((listener.finish()[-1].logits - offline).abs().max())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, listen, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks listening", description=__doc__)
    parser.add_argument(
        "--config", type=Path, help="its model section; default: that of wavenet-small"
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--out", type=Path, default=BUILD / "listening-hour.json")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    where = environment()
    torch.manual_seed(0)
    overrides = ["model.preset=wavenet-small"] if options.config is None else []
    config = load_config(options.config, overrides).model_config([str(i) for i in range(10)])
    model = WaveNetClassifier(config).eval()
    apart = difference_from_offline(model)

    rate = config.sample_rate
    listener = StreamingClassifier(model)
    decisions, computing, memory = 0, 0.0, []
    blocks = pcm_blocks(Noise(options.minutes * 60 * rate), rate, block_seconds=CHUNK_SECONDS)
    for number, block in enumerate(blocks, start=1):
        started = time.perf_counter()
        decisions += len(listener.push(block))
        computing += time.perf_counter() - started
        if number % round(60 / CHUNK_SECONDS) == 0:
            memory.append(round(memory_mib(), 1))
    seconds = listener.seconds
    decisions += len(listener.finish())
    print(
        f"{seconds / 60:.0f} min in {computing:.0f} s of computing: {seconds / computing:.1f} "
        f"times real time, {decisions} decisions; {memory[0]} MiB after the first minute, "
        f"{memory[-1]} MiB after the last; {apart:.1e} from offline"
    )
    content = {
        "benchmark": "listening",
        "config": options.config.name if options.config else "wavenet-small",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sample_rate": rate,
        "stem_stride": config.stem_stride,
        "receptive_field_ms": model.receptive_field_ms,
        "chunk_seconds": CHUNK_SECONDS,
        "audio_seconds": seconds,
        "computing_seconds": round(computing, 1),
        "real_time_factor": computing / seconds,
        "times_real_time": seconds / computing,
        "decisions": decisions,
        "memory_mib_each_minute": memory,
        "logits_differ_from_offline_by": apart,
        **where,
    }
    write_results(options.out, content)
