"""Supports nothing."""

from wavenet_kernels.backends.eager import *  # noqa: F403


def supports(call):
    return "does not feel like it"
