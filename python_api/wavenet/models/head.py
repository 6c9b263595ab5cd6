"""The classification head of the WaveNet paper's section 3.4, and pooling over a clip.

Everything here respects lengths: what a clip gives does not depend on what it is padded with or
on which clips share its batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.models.config import WaveNetConfig


def mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, 1, size), 1 where a position is inside the clip, else 0."""
    return (torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)).unsqueeze(1)


class FrameHead(nn.Module):
    """Skip sum -> ReLU -> mean over frames -> non-causal convolutions over frames.

    Shapes: skip (B, S, steps), lengths (B,) in steps -> frames (B, C, F), lengths in frames.
    """

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__()
        self.steps_per_frame = config.steps_per_frame
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
        n = self.steps_per_frame
        x = torch.relu(skip) * mask(lengths, skip.shape[2])
        x = F.pad(x, (0, -skip.shape[2] % n))
        sums = x.unflatten(2, (-1, n)).sum(3)
        # The last frame of a clip may be a short one; frames beyond it divide by 1, not by 0.
        first = torch.arange(sums.shape[2], device=skip.device) * n
        steps = (lengths.unsqueeze(1) - first).clamp(1, n).unsqueeze(1)
        x = sums / steps.to(sums.dtype)
        frames = torch.div(lengths + n - 1, n, rounding_mode="floor")
        inside = mask(frames, x.shape[2])
        for conv in self.convs:
            x = torch.relu(conv(x)) * inside
        return x, frames


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
        weights = self.score(x).masked_fill(~inside, float("-inf")).softmax(2)
        return (x * weights).sum(2)
