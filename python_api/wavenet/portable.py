"""Models as programs that run without this package: torch.export's and ONNX."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wavenet.errors import extra
from wavenet_kernels.decompositions import decompositions

# Weights are taken out of the stack's tensors when exporting, not whenever the file is run.
FOLD_BYTES = 1 << 30


def plain_program(
    model: nn.Module, example: tuple[Tensor, ...], shapes: Mapping[str, Mapping[int, Any]]
) -> torch.export.ExportedProgram:
    """The model as a graph of PyTorch's own operators.

    Args:
        model: on the CPU, in eval mode.
        example: its arguments.
        shapes: which of their sizes are free, by argument and dimension.
    """
    with quiet(), torch.no_grad():
        program = torch.export.export(model, example, dynamic_shapes=dict(shapes))
        return program.run_decompositions(decompositions())


def torch_bytes(program: torch.export.ExportedProgram, config: Mapping[str, Any]) -> bytes:
    """A .pt2 file with config.json in it; ``torch.export.load(path).module()`` runs it."""
    content = io.BytesIO()
    with quiet():
        torch.export.save(program, content, extra_files={"config.json": json.dumps(config)})
    return content.getvalue()


def onnx_bytes(
    program: torch.export.ExportedProgram,
    inputs: Sequence[str],
    output: str,
    metadata: Mapping[str, str],
) -> bytes:
    """The content of an .onnx file.

    Raises:
        MissingPackageError: the packages of the extra "export" are not installed.
    """
    require("onnx", "onnxscript")
    from onnxscript import optimizer

    with quiet():
        made = torch.onnx.export(
            program,
            (),
            input_names=list(inputs),
            output_names=[output],
            dynamo=True,
            verbose=False,
            optimize=False,
        )
        assert made is not None
        optimizer.optimize(made.model, input_size_limit=FOLD_BYTES, output_size_limit=FOLD_BYTES)
    made.model.metadata_props.update(metadata)
    content: bytes = made.model_proto.SerializeToString()
    return content


def onnx_function(content: bytes) -> Callable[..., Tensor]:
    """Runs the content of an .onnx file in onnxruntime, on as many CPU threads as torch has."""
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(*values: Tensor) -> Tensor:
        inputs = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return torch.from_numpy(session.run(None, inputs)[0])

    return run


def torch_function(content: bytes) -> Callable[..., Tensor]:
    """Runs the content of a .pt2 file."""
    module = torch.export.load(io.BytesIO(content)).module()

    def run(*values: Tensor) -> Tensor:
        result: Tensor = module(*values)
        return result

    return run


def require(*packages: str) -> None:
    """Raise MissingPackageError for those of the extra "export" that are not installed."""
    with extra("export"):
        for package in packages:
            importlib.import_module(package)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
