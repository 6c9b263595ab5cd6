"""What the C library is measured against computes the same network."""

from __future__ import annotations

import torch

from benchmarks.classifier.onnx_stream import Step
from benchmarks.classifier.runtime import CHUNK, CHUNKS, Heap, fill
from wavenet import create_model


@torch.inference_mode()
def test_steps_are_the_network():
    torch.manual_seed(0)
    model = create_model("wavenet-tiny", labels=("a", "b")).eval()
    frames, stride = 12, model.config.stem_stride
    x = torch.rand(1, frames * CHUNK) - 0.5
    _, skip = model.stack(model.stem(x))
    expected, _ = model.head(skip, torch.tensor([skip.shape[2]]))
    step = Step(model)
    # A step sees the samples up to its last one, the network those up to its first.
    heard = torch.nn.functional.pad(x, (stride - 1, 0))
    histories, made = step.histories(), []
    for chunk in heard[:, : frames * CHUNK].split(CHUNK, dim=1):
        frame, histories = step(chunk, histories)
        made.append(frame)
    ahead = (
        2  # of two convolutions; before them the network has zeros, the step what it makes of zeros
    )
    found = torch.cat(made, dim=2)[:, :, 2 * ahead :]
    torch.testing.assert_close(found, expected[:, :, ahead:-ahead], rtol=1e-4, atol=1e-5)


def test_rows_get_the_times_of_their_contender():
    calls = []
    seconds = {("tiny", name): (lambda name=name: calls.append(name)) for name in ("a", "b")}
    rows = [{"workload": "tiny", "contender": name} for name in ("a", "b", "failed")]
    fill(rows, seconds, rounds=3)
    assert calls.count("a") == calls.count("b") == 5  # with two of warm-up
    assert "median_us" not in rows[2]
    for row in rows[:2]:
        assert row["p10_us"] <= row["median_us"] <= row["p90_us"]
        assert row["real_time"] == CHUNK / 16000 * 1e6 / row["median_us"]
    assert CHUNKS * CHUNK == 16000


def test_memory_that_malloc_gives_out_is_counted():
    heap = Heap()
    before = heap.bytes()
    held = torch.zeros(1 << 20)
    assert heap.bytes() - before >= held.nbytes
