"""Has two configurations: one is right, one is not."""

import contextlib

from wavenet_kernels.backends import eager
from wavenet_kernels.backends.eager import *  # noqa: F403

in_force = []


def configurations(call):
    return [{"tile": 64}, {"tile": 7}]


@contextlib.contextmanager
def configured(configuration):
    in_force.append(configuration)
    try:
        yield
    finally:
        in_force.pop()


def forward(call, outputs):
    eager.forward(call, outputs)
    if {"tile": 7} in in_force and outputs.y is not None:
        outputs.y.add_(1.0)
