"""Where a signal that comes in chunks is silent."""

from __future__ import annotations

import torch
from torch import Tensor

from wavenet.audio.reading import SILENCE


class FrameLevels:
    """The lowest and highest sample of each frame of a signal, as long as they are asked for.

    Args:
        size: samples of a frame.
        forgetting: only the newest frames are asked for; else those since the start, of which the
            extremes are all that is kept.
    """

    def __init__(self, size: int, forgetting: bool) -> None:
        self.size = size
        self.forgetting = forgetting
        self.first = 0  # the oldest frame that is kept
        self.waiting = torch.zeros(0)  # the newest frame's samples
        self.kept = torch.zeros(0, 2)

    def push(self, samples: Tensor) -> None:
        """The next samples (n,)."""
        samples = torch.cat([self.waiting, samples.detach().to(self.waiting)])
        whole = len(samples) // self.size * self.size
        self.waiting = samples[whole:]
        if whole:
            low, high = samples[:whole].view(-1, self.size).aminmax(dim=1)
            self.kept = torch.cat([self.kept, torch.stack([low, high], 1)])
        if not self.forgetting and len(self.kept):
            self.kept = self._extremes(self.kept).unsqueeze(0)

    def silent(self, start: int, end: int) -> bool:
        """Whether the frames from `start` to before `end` are; earlier ones are forgotten.

        Silent is what stays within `SILENCE` of one value: a constant is no sound.
        """
        frames = self.kept
        if self.forgetting:
            self.kept = self.kept[start - self.first :]
            self.first = start
            frames = self.kept[: end - start]
        if len(self.waiting) and end - start > len(frames):  # the signal's last frame is short
            low, high = self.waiting.aminmax()
            frames = torch.cat([frames, torch.stack([low, high]).unsqueeze(0)])
        if not len(frames):
            return False
        low, high = self._extremes(frames).tolist()
        return high - low < 2 * SILENCE

    @staticmethod
    def _extremes(frames: Tensor) -> Tensor:
        return torch.stack([frames[:, 0].amin(), frames[:, 1].amax()])
