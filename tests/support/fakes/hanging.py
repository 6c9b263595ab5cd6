"""Never comes back."""

import time

from wavenet_kernels.backends.eager import *  # noqa: F403


def forward(call, outputs):
    while True:
        time.sleep(1)
