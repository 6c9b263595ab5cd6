"""WaveGlows as files that run without this package: ONNX and torch.export.

Each takes `mel` (B, M, F) and `z` (B, 8, F hop / 8) float32, with B and F free, and gives
`waveform` (B, F hop), as `WaveGlow.infer` does. The configuration travels in the file's metadata.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wavenet.errors import DataError, ModelError
from wavenet.generation.flow import Flow
from wavenet.generation.waveglow import WaveGlow
from wavenet.portable import (
    onnx_bytes,
    onnx_function,
    plain_program,
    torch_bytes,
    torch_function,
)

FORMATS = ("onnx", "torch")
# What an exported model's samples may differ by from PyTorch's.
TOLERANCE = 1e-4


class Inference(nn.Module):
    """`WaveGlow.infer` as a module, with the 1x1s inverted once."""

    def __init__(self, model: WaveGlow) -> None:
        super().__init__()
        self.model = model
        self.inverses = nn.ParameterList(
            nn.Parameter(flow.convolution.inverted().float(), requires_grad=False)
            for flow in model.flows
            if isinstance(flow, Flow)
        )

    def forward(self, mel: Tensor, z: Tensor) -> Tensor:
        """(B, M, F) and (B, 8, F hop / 8) -> (B, F hop)."""
        return self.model.sound(mel, z, list(self.inverses))


def export_waveglow(model: WaveGlow, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """The files model.onnx and model.pt2, by name.

    Args:
        model: it is put on the CPU, into float32 and eval mode.
        formats: "onnx", "torch" or both.

    Raises:
        DataError: another format.
        MissingPackageError: the packages of the extra "export" are not installed.
        ModelError: a file's samples differ from the model's by more than `TOLERANCE`.
    """
    if strange := sorted(set(formats) - set(FORMATS)):
        raise DataError(f"format is {strange[0]!r}; accepted are {', '.join(FORMATS)}")
    inference = Inference(model.cpu().float().eval()).eval()
    config = dataclasses.asdict(model.config)
    free = torch.export.Dim.DYNAMIC
    frames = torch.export.Dim("frames", min=2)
    ratio = model.config.hop // model.config.group
    shapes = {"mel": {0: free, 2: frames}, "z": {0: free, 2: ratio * frames}}
    program = plain_program(inference, _example(model, 2, 4), shapes)
    files: dict[str, bytes] = {}
    if "onnx" in formats:
        metadata = {"config.json": json.dumps(config)}
        files["model.onnx"] = onnx_bytes(program, ("mel", "z"), "waveform", metadata)
    if "torch" in formats:
        files["model.pt2"] = torch_bytes(program, config)
    for name, content in files.items():
        _compare(name, content, model)
    return files


@torch.no_grad()
def _compare(name: str, content: bytes, model: WaveGlow) -> None:
    run = (onnx_function if name.endswith("onnx") else torch_function)(content)
    for batch, length in ((1, 2), (3, 7)):
        mel, z = _example(model, batch, length)
        difference = float((run(mel, z) - model.infer(mel, z=z)).abs().max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{name}: its samples differ from PyTorch's by {difference:.2g}; at most "
                f"{TOLERANCE:g} is accepted"
            )


def _example(model: WaveGlow, batch: int, frames: int) -> tuple[Tensor, Tensor]:
    config = model.config
    random = torch.Generator().manual_seed(frames)
    steps = frames * config.hop // config.group
    mel = torch.randn(batch, config.mel.mels, frames, generator=random)
    return mel, 0.6 * torch.randn(batch, config.group, steps, generator=random)
