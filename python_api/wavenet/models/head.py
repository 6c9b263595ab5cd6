"""The classification head of the WaveNet paper's section 3.4, and pooling over a clip.

Everything here respects lengths: what a clip gives does not depend on what it is padded with or
on which clips share its batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.models.config import WaveNetConfig
from wavenet_kernels import dilated_conv1d


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
        x = self._means(skip.transpose(1, 2), lengths).transpose(1, 2)
        n = self.steps_per_frame
        frames = torch.div(lengths + n - 1, n, rounding_mode="floor")
        inside = mask(frames, x.shape[2])
        for conv in self.convs:
            x = torch.relu(convolve(conv, x)) * inside
        return x, frames

    def _means(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, S) -> (B, F, S). These are the largest tensors after the stack: few passes count.

        A product with each step's weight in its frame masks and divides at once, also in backward.
        """
        n = self.steps_per_frame
        short = rows.shape[1] % n
        if torch.compiler.is_compiling():  # one graph for all lengths
            rows, short = F.pad(rows, (0, 0, 0, -rows.shape[1] % n)), 0
        size = -(-rows.shape[1] // n)
        inside = mask(lengths, size * n).squeeze(1).unflatten(1, (size, n)).unsqueeze(3)
        # A clip's last frame may be a short one; frames beyond it divide by 1, not by 0.
        weights = (inside / inside.sum(2, keepdim=True).clamp(min=1)).to(rows.dtype)
        if not short:
            return (torch.relu(rows.unflatten(1, (-1, n))) * weights).sum(2)
        # The last frame apart, for padding would copy all of them.
        whole, last = rows.split([rows.shape[1] - short, short], 1)
        means = (torch.relu(whole.unflatten(1, (-1, n))) * weights[:, :-1]).sum(2)
        mean = (torch.relu(last) * weights[:, -1, :short]).sum(1, keepdim=True)
        return torch.cat([means, mean], 1)


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
