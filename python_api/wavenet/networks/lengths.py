"""Which positions of a padded batch belong to its clips."""

from __future__ import annotations

import torch
from torch import Tensor


def mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, 1, size), 1 where a position is inside the clip, else 0."""
    return (torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)).unsqueeze(1)
