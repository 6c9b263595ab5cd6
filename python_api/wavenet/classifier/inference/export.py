"""Classifiers as files that run without this package: ONNX, ONNX in int8, torch.export.

Each takes `waveform` (B, T) float32 and `lengths` (B,) int64, with B and T free, and gives
`logits` (B, classes), as the model does. Labels and sample rate travel in the file's metadata.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wavenet.classifier.inference.evaluate import Classify
from wavenet.classifier.model import WaveNetClassifier
from wavenet.errors import DataError, ModelError, extra, require_seconds
from wavenet_kernels.decompositions import decompositions

FORMATS = ("onnx", "torch")
# What an exported model may differ by from PyTorch's, in logits.
TOLERANCE = 1e-4
# A clip of one frame or less is a case of its own in torch.export; its T is above this.
FRAMES_AT_LEAST = 2
# Weights are taken out of the stack's tensors when exporting, not whenever the file is run.
FOLD_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file, or "PyTorch" for the model itself, and how it compares with the model.

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
    difference: float
    latency_ms: float
    accuracy: float | None


def export_model(
    model: WaveNetClassifier,
    formats: Sequence[str] = FORMATS,
    *,
    int8: bool = True,
    seconds: float = 1.0,
    accuracy: Callable[[Classify], float] | None = None,
) -> list[Exported]:
    """The model and its files: model.onnx, model.int8.onnx, model.pt2.

    Args:
        model: it is put on the CPU and into eval mode.
        formats: "onnx", "torch" or both.
        int8: beside the ONNX file, one in 8 bits.
        seconds: length of the clip that is timed.
        accuracy: measures a classifier; None: not measured.

    Raises:
        DataError: another format, or seconds of less than two frames or more than a day.
        MissingPackageError: the packages of the extra "export" are not installed.
        ModelError: a file's logits differ from the model's by more than `TOLERANCE` (in 8 bits they
            may).
    """
    if strange := sorted(set(formats) - set(FORMATS)):
        raise DataError(f"format is {strange[0]!r}; accepted are {', '.join(FORMATS)}")
    require_seconds(seconds=seconds)
    rate = model.config.sample_rate
    shortest = FRAMES_AT_LEAST * model.config.steps_per_frame * model.config.stem_stride
    if round(seconds * rate) < shortest:
        raise DataError(
            f"seconds is {seconds}; accepted is at least {shortest / rate:g}, {FRAMES_AT_LEAST} "
            "frames of the model"
        )
    program = plain_program(model)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    made: list[tuple[str, bytes, int, Classify]] = [("PyTorch", b"", weights, model)]
    if "onnx" in formats:
        content = onnx_file(program, model)
        made.append(("model.onnx", content, len(content), onnx_classifier(content)))
        if int8:
            small = quantised(content)
            made.append(("model.int8.onnx", small, len(small), onnx_classifier(small)))
    if "torch" in formats:
        content = torch_file(program, model)
        made.append(("model.pt2", content, len(content), torch_classifier(content)))
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
    return exported


def plain_program(model: WaveNetClassifier) -> torch.export.ExportedProgram:
    """The model as a graph of PyTorch's own operators, for T of more than one 10 ms frame.

    A shorter clip is padded to that; `lengths` says how long it is.
    """
    model = model.cpu().eval()
    frame = model.config.steps_per_frame * model.config.stem_stride
    example = (torch.zeros(2, 10 * frame), torch.tensor([10 * frame, 5 * frame]))
    free = torch.export.Dim.DYNAMIC
    shapes = {"waveform": {0: free, 1: free}, "lengths": {0: free}}
    with _quiet(), torch.no_grad():
        program = torch.export.export(model, example, dynamic_shapes=shapes)
        return program.run_decompositions(decompositions())


def torch_file(program: torch.export.ExportedProgram, model: WaveNetClassifier) -> bytes:
    """The content of a .pt2 file; ``torch.export.load(path).module()`` runs it."""
    content = io.BytesIO()
    extra = {"config.json": json.dumps(dataclasses.asdict(model.config))}
    with _quiet():
        torch.export.save(program, content, extra_files=extra)
    return content.getvalue()


def onnx_file(program: torch.export.ExportedProgram, model: WaveNetClassifier) -> bytes:
    """The content of an .onnx file.

    Raises:
        MissingPackageError: the packages of the extra "export" are not installed.
    """
    _require("onnx", "onnxscript")
    from onnxscript import optimizer

    with _quiet():
        made = torch.onnx.export(
            program,
            (),
            input_names=["waveform", "lengths"],
            output_names=["logits"],
            dynamo=True,
            verbose=False,
            optimize=False,
        )
        assert made is not None
        optimizer.optimize(made.model, input_size_limit=FOLD_BYTES, output_size_limit=FOLD_BYTES)
    made.model.metadata_props["labels"] = json.dumps(model.config.labels)
    made.model.metadata_props["sample_rate"] = str(model.config.sample_rate)
    content: bytes = made.model_proto.SerializeToString()
    return content


def quantised(onnx: bytes) -> bytes:
    """The same model with weights in 8 bits, and activations too, scaled as they come.

    The stem is left in float32: it is a small part of the work, and hears the waveform's quiet
    parts, which 8 bits would lose.
    """
    _require("onnx", "onnxruntime")
    import onnx as onnx_package
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx_package.load_from_string(onnx).graph
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    stem = [node.name for node in convolutions if shapes[node.input[1]][1] == 1]
    with tempfile.TemporaryDirectory() as folder, _quiet():
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


def onnx_classifier(onnx: bytes) -> Classify:
    """Runs the content of an .onnx file in onnxruntime, on as many CPU threads as torch has."""
    _require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def classify(waveform: Tensor, lengths: Tensor) -> Tensor:
        inputs = {"waveform": waveform.numpy(), "lengths": lengths.numpy()}
        return torch.from_numpy(session.run(None, inputs)[0])

    return classify


def torch_classifier(content: bytes) -> Classify:
    """Runs the content of a .pt2 file."""
    module = torch.export.load(io.BytesIO(content)).module()

    def classify(waveform: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = module(waveform, lengths)
        return logits

    return classify


@torch.inference_mode()
def largest_difference(model: WaveNetClassifier, classify: Classify) -> float:
    """Of logits, over batches of noise of several sizes, loudnesses and lengths."""
    frame = model.config.steps_per_frame * model.config.stem_stride
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


def _require(*packages: str) -> None:
    with extra("export"):
        for package in packages:
            importlib.import_module(package)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks, none of which is about the model."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
