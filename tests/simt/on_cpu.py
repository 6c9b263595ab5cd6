"""The cuda backend with its kernels in the simulator, on CPU tensors."""

from __future__ import annotations

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

    def place(self, x: Tensor) -> dict[str, int]:
        return {"device": 0, "stream": 0}
