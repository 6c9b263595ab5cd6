"""Wrong in one element of one gradient."""

from wavenet_kernels.backends import eager
from wavenet_kernels.backends.eager import *  # noqa: F403


def backward(call, gradients, outputs):
    eager.backward(call, gradients, outputs)
    if outputs.conv_weight is not None:
        outputs.conv_weight.view(-1)[-1] *= 1.01
