"""The classification head of the WaveNet paper's section 3.4, and pooling over a clip.

Everything here respects lengths: what a clip gives does not depend on what it is padded with or
on which clips share its batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.networks.architecture import Architecture
from wavenet.networks.clip_norm import normalize_frames
from wavenet.networks.frames import frame_means
from wavenet.networks.lengths import mask
from wavenet_kernels import dilated_conv1d


class FrameHead(nn.Module):
    """Skip sum -> ReLU -> mean over frames -> non-causal convolutions over frames.

    Between means and convolutions the frames are normalised over the clip if the config says so.

    Shapes: skip (B, S, steps), lengths (B,) in steps -> frames (B, C, F), lengths in frames.
    """

    def __init__(self, config: Architecture) -> None:
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
        n = self.steps_per_frame
        x = frame_means(skip.transpose(1, 2), lengths, n).transpose(1, 2)
        frames = torch.div(lengths + n - 1, n, rounding_mode="floor")
        if self.clip_norm:
            x = normalize_frames(x, frames)
        inside = mask(frames, x.shape[2])
        for index, conv in enumerate(self.convs):
            assert isinstance(conv, nn.Conv1d)
            # A clip's neighbours see zeros beyond it; the frames have them already.
            seen = x * inside if index else x
            x = torch.relu(dilated_conv1d(seen, conv.weight, conv.bias, padding="same"))
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
        rows = x.transpose(1, 2)
        scores = F.linear(rows, self.score.weight.squeeze(2), self.score.bias).transpose(1, 2)
        weights = scores.masked_fill(~inside, float("-inf")).softmax(2)
        return (weights @ rows).squeeze(1)
