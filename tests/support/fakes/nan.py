"""A NaN in the last time of an output."""

from wavenet_kernels.backends import eager
from wavenet_kernels.backends.eager import *  # noqa: F403


def forward(call, outputs):
    eager.forward(call, outputs)
    for output in (outputs.y, outputs.skip):
        if output is not None:
            output[0, 0, -1] = float("nan")
