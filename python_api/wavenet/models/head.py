"""The classification head of the WaveNet paper's section 3.4, and pooling over a clip.

Everything here respects lengths: what a clip gives does not depend on what it is padded with or
on which clips share its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wavenet.models.clip_norm import normalize_frames
from wavenet.models.config import WaveNetConfig
from wavenet.models.lengths import mask
from wavenet_kernels import dilated_conv1d


class FrameHead(nn.Module):
    """Skip sum -> ReLU -> mean over frames -> non-causal convolutions over frames.

    Between means and convolutions the frames are normalised over the clip if the config says so.

    Shapes: skip (B, S, steps), lengths (B,) in steps -> frames (B, C, F), lengths in frames.
    """

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__()
        self.steps_per_frame = config.steps_per_frame
        self.clip_norm = config.clip_norm
        channels = [config.skip_channels] + [config.head_channels] * config.head_layers
        self.out_channels = channels[-1]
        self.convs = nn.ModuleList(
            nn.Conv1d(i, o, config.head_kernel_size, padding=config.head_kernel_size // 2)
            for i, o in zip(channels, channels[1:], strict=False)
        )
        for conv in self.convs:
            assert isinstance(conv, nn.Conv1d) and conv.bias is not None
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, skip: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = self._means(skip.transpose(1, 2), lengths).transpose(1, 2)
        n = self.steps_per_frame
        frames = torch.div(lengths + n - 1, n, rounding_mode="floor")
        if self.clip_norm:
            x = normalize_frames(x, frames)
        inside = mask(frames, x.shape[2])
        for index, conv in enumerate(self.convs):
            # A clip's neighbours see zeros beyond it; the frames have them already.
            x = torch.relu(convolve(conv, x * inside if index else x))
        return x, frames

    def _means(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, S) -> (B, F, S), each frame the mean over its steps inside the clip."""
        n = self.steps_per_frame
        compiling = torch.compiler.is_compiling()
        if compiling:  # one graph for all lengths
            rows = F.pad(rows, (0, 0, 0, -rows.shape[1] % n))
        size = -(-rows.shape[1] // n)
        inside = mask(lengths, size * n).squeeze(1).unflatten(1, (size, n)).unsqueeze(3)
        # A clip's last frame may be a short one; frames beyond it divide by 1, not by 0.
        weights = (inside / inside.sum(2, keepdim=True).clamp(min=1)).to(rows.dtype)
        if compiling:
            return (torch.relu(rows.unflatten(1, (-1, n))) * weights).sum(2)
        means: Tensor = FrameSums.apply(rows, weights)
        return means


class FrameSums(torch.autograd.Function):
    """Frames' weighted sums of what is above 0: rows (B, T, S), weights (B, F, n, 1) -> (B, F, S).

    These are the largest tensors after the stack, so that passes over them count. Autograd would
    make three forward, and four backward, which fill new memory; these are two and two.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        sums = rows.new_empty(rows.shape[0], weights.shape[1], rows.shape[2])
        for part, frames in _frames(rows, weights.shape[2]):
            positive = torch.relu(part)
            torch.sum(positive.mul_(weights[:, frames, : part.shape[2]]), 2, out=sums[:, frames])
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows, weights = ctx.saved_tensors
        out = torch.empty_like(rows)
        for part, frames in _frames(out, weights.shape[2]):
            torch.mul(
                gradient[:, frames].unsqueeze(2), weights[:, frames, : part.shape[2]], out=part
            )
        return torch.ops.aten.threshold_backward.grad_input(out, rows, 0, grad_input=out), None


def _frames(rows: Tensor, size: int) -> Iterator[tuple[Tensor, slice]]:
    """The whole frames of (B, T, S), as (B, F, size, S), and a short last one; where they are."""
    whole, short = divmod(rows.shape[1], size)
    if whole:
        yield rows[:, : whole * size].unflatten(1, (whole, size)), slice(whole)
    if short:
        yield rows[:, whole * size :].unsqueeze(1), slice(whole, None)


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution of the head, on a CPU by our operator: there it is the faster one."""
    assert isinstance(conv, nn.Conv1d)
    if x.device.type == "cpu":
        return dilated_conv1d(x, conv.weight, conv.bias, padding="same")
    out: Tensor = conv(x)
    return out


class Pooling(nn.Module):
    """Frames (B, C, F) of a clip, lengths (B,) in frames -> (B, C), by mean, max or attention.

    Attention weighs frames by softmax of a learned score, per frame, over the clip.
    """

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Conv1d(channels, 1, 1) if kind == "attention" else None

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        inside = mask(lengths, x.shape[2])
        if self.kind == "max":
            return x.masked_fill(~inside, float("-inf")).amax(2)
        if self.score is None:
            return (x * inside).sum(2) / lengths.unsqueeze(1).to(x.dtype)
        rows = x.transpose(1, 2)
        scores = F.linear(rows, self.score.weight.squeeze(2), self.score.bias).transpose(1, 2)
        weights = scores.masked_fill(~inside, float("-inf")).softmax(2)
        return (weights @ rows).squeeze(1)
