"""Classifiers as files that run without this package: ONNX, ONNX in int8, torch.export, C library.

Each but the C library's takes `waveform` (B, T) float32 and `lengths` (B,) int64, with B and T
free, and gives `logits` (B, classes), as the model does. Labels and sample rate travel in the
file's metadata.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from wavenet.classifier.inference.evaluate import Classify
from wavenet.classifier.inference.runtime import runtime_file
from wavenet.classifier.inference.weights import folded, require_weights
from wavenet.classifier.model import WaveNetClassifier, WaveNetConfig
from wavenet.errors import DataError, ModelError, require_seconds
from wavenet.portable import (
    onnx_bytes,
    onnx_function,
    plain_program,
    quiet,
    require,
    torch_bytes,
    torch_function,
)

FORMATS = ("onnx", "torch", "runtime")
# What an exported model may differ by from PyTorch's, in logits.
TOLERANCE = 1e-4
# A clip of one frame or less is a case of its own in torch.export; its T is above this.
FRAMES_AT_LEAST = 2


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file, or "PyTorch" for the model itself, and how it compares with the model.

    The C library's file is not run here, so that of it nothing is measured.

    Attributes:
        name: of the file.
        content: of the file; empty for the model itself.
        size: of the file, of the model its weights, in bytes.
        difference: the largest one of logits.
        latency_ms: the median time for one clip.
        accuracy: on labelled clips, where there are any.
    """

    name: str
    content: bytes
    size: int
    difference: float | None
    latency_ms: float | None
    accuracy: float | None


def export_model(
    model: WaveNetClassifier,
    formats: Sequence[str] | None = None,
    *,
    int8: bool = True,
    weights: str = "float32",
    seconds: float = 1.0,
    accuracy: Callable[[Classify], float] | None = None,
) -> list[Exported]:
    """The model and its files: model.onnx, model.int8.onnx, model.pt2, model.wavenet.

    Args:
        model: it is put on the CPU and into eval mode.
        formats: of "onnx", "torch" and "runtime"; None: all that the model can be.
        int8: beside the ONNX file, one in 8 bits.
        weights: of the C library's file: one of `wavenet.classifier.inference.weights.WEIGHTS`.
        seconds: length of the clip that is timed.
        accuracy: measures a classifier; None: not measured.

    Raises:
        DataError: another format, or other weights (or such where no file has them); seconds of
            less than two frames or more than a day.
        MissingPackageError: the packages of the extra "export" are not installed.
        ModelError: a file's logits differ from the model's by more than `TOLERANCE` (in 8 bits they
            may).
    """
    formats = formats_of(model) if formats is None else formats
    if strange := sorted(set(formats) - set(FORMATS)):
        raise DataError(f"format is {strange[0]!r}; accepted are {', '.join(FORMATS)}")
    require_weights(weights)
    if weights != "float32" and "runtime" not in formats:
        raise DataError(
            f"weights is {weights!r}; accepted is float32 where model.wavenet is not made "
            "(of tags it never is)"
        )
    require_seconds(seconds=seconds)
    rate = model.config.sample_rate
    shortest = FRAMES_AT_LEAST * model.config.frame_samples
    if round(seconds * rate) < shortest:
        raise DataError(
            f"seconds is {seconds}; accepted is at least {shortest / rate:g}, {FRAMES_AT_LEAST} "
            "frames of the model"
        )
    model = model.cpu().eval()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    made: list[tuple[str, bytes, int, Classify]] = [("PyTorch", b"", size, model)]
    if {"onnx", "torch"} & set(formats):
        program = program_of(model)
    if "onnx" in formats:
        content = onnx_file(program, model)
        made.append(("model.onnx", content, len(content), onnx_function(content)))
        if int8:
            small = quantised(content)
            made.append(("model.int8.onnx", small, len(small), onnx_function(small)))
    if "torch" in formats:
        content = torch_bytes(program, dataclasses.asdict(model.config))
        made.append(("model.pt2", content, len(content), torch_function(content)))
    exported = []
    for name, content, size, classify in made:
        difference = largest_difference(model, classify)
        if "int8" not in name and not difference <= TOLERANCE:
            raise ModelError(
                f"{name}: its logits differ from PyTorch's by {difference:.2g}; at most "
                f"{TOLERANCE:g} is accepted"
            )
        latency = measure_latency_ms(classify, round(seconds * rate))
        measured = None if accuracy is None else accuracy(classify)
        exported.append(Exported(name, content, size, difference, latency, measured))
    if "runtime" in formats:
        content = runtime_file(model, weights)
        exported.append(Exported("model.wavenet", content, len(content), None, None, None))
    return exported


def formats_of(model: WaveNetClassifier) -> tuple[str, ...]:
    """Those of `FORMATS` that the model can be: the C library has no tags."""
    return tuple(name for name in FORMATS if name != "runtime" or not model.config.tags)


def program_of(model: WaveNetClassifier) -> torch.export.ExportedProgram:
    """The model as a graph of PyTorch's own operators, for T of more than one 10 ms frame.

    A shorter clip is padded to that; `lengths` says how long it is.
    """
    model = folded(model.cpu().eval())
    frame = model.config.frame_samples
    example = (torch.zeros(2, 10 * frame), torch.tensor([10 * frame, 5 * frame]))
    free = torch.export.Dim.DYNAMIC
    return plain_program(model, example, {"waveform": {0: free, 1: free}, "lengths": {0: free}})


def onnx_file(program: torch.export.ExportedProgram, model: WaveNetClassifier) -> bytes:
    """The content of an .onnx file.

    Raises:
        MissingPackageError: the packages of the extra "export" are not installed.
    """
    return onnx_bytes(program, ("waveform", "lengths"), "logits", metadata_of(model.config))


def metadata_of(config: WaveNetConfig) -> dict[str, str]:
    """What an .onnx file says beside its graph, as JSON."""
    return {
        "labels": json.dumps(config.labels),
        "sample_rate": str(config.sample_rate),
        "tags": json.dumps(config.tags),  # probabilities are sigmoids, else softmax
        "thresholds": json.dumps(config.rule.least),
    }


def quantised(onnx: bytes) -> bytes:
    """The same model with weights in 8 bits, and activations too, scaled as they come.

    The stem is left in float32: it is a small part of the work, and hears the waveform's quiet
    parts, which 8 bits would lose.
    """
    require("onnx", "onnxruntime")
    import onnx as onnx_package
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx_package.load_from_string(onnx).graph
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    # Filters of a filterbank are computed, and are no weights.
    stem = [
        node.name
        for node in convolutions
        if node.input[1] not in shapes or shapes[node.input[1]][1] == 1
    ]
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(onnx)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            # onnxruntime's convolution of signed weights is several times slower.
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=stem,
        )
        return target.read_bytes()


@torch.inference_mode()
def largest_difference(model: WaveNetClassifier, classify: Classify) -> float:
    """Of logits, over batches of noise of several sizes, loudnesses and lengths."""
    frame = model.config.frame_samples
    random = torch.Generator().manual_seed(0)
    difference = 0.0
    for batch, time_ in ((1, FRAMES_AT_LEAST * frame), (3, 33 * frame + 7), (2, 200 * frame)):
        loudness = torch.logspace(-3, 0, batch).unsqueeze(1)
        waveform = (torch.rand(batch, time_, generator=random) * 2 - 1) * loudness
        lengths = torch.randint(1, time_ + 1, (batch,), generator=random)
        apart = classify(waveform, lengths) - model(waveform, lengths)
        difference = max(difference, float(apart.abs().max()))
    return difference


@torch.inference_mode()
def measure_latency_ms(classify: Classify, samples: int, rounds: int = 20) -> float:
    """The median time for one clip of so many samples, in milliseconds."""
    waveform, lengths = torch.rand(1, samples) - 0.5, torch.tensor([samples])
    times = []
    for _ in range(rounds + 2):
        started = time.perf_counter()
        classify(waveform, lengths)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[2:])
