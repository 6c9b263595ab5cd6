"""Ends the process, as an illegal access does."""

import os
import signal

from wavenet_kernels.backends.eager import *  # noqa: F403


def forward(call, outputs):
    os.kill(os.getpid(), signal.SIGSEGV)
