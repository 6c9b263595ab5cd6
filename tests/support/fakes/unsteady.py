"""Other bits each time, all of them within the bound."""

from wavenet_kernels.backends import eager
from wavenet_kernels.backends.eager import *  # noqa: F403

_calls = 0


def forward(call, outputs):
    global _calls
    _calls += 1
    eager.forward(call, outputs)
    if outputs.y is not None:
        outputs.y.mul_(1 + (_calls % 2) * 1e-7)
