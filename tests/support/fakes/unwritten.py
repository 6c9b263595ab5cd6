"""Leaves the times of a last, unfilled tile as they were."""

from dataclasses import replace

import torch

from wavenet_kernels.backends import eager
from wavenet_kernels.backends.eager import *  # noqa: F403


def forward(call, outputs):
    if outputs.y is None:
        eager.forward(call, outputs)
        return
    whole = torch.empty_like(outputs.y)
    eager.forward(call, replace(outputs, y=whole))
    written = outputs.y.shape[2] // 16 * 16
    outputs.y[:, :, :written] = whole[:, :, :written]
