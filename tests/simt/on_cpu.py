"""The cuda backend with its kernels in the simulator, on CPU tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from wavenet_kernels.backends import cuda


class SimulatedGpu(cuda.Machine):
    """Takes CPU tensors; kernels run in the module that simt_build makes."""

    device_type = "cpu"

    def unavailable(self) -> None:
        return None

    def refusal(self, device: torch.device) -> str:
        return ""

    def current(self, device: torch.device) -> AbstractContextManager[None]:
        return nullcontext()

    def stream(self, x: Tensor) -> int:
        return 0
