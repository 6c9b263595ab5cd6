"""The sampling loop as a careful user of PyTorch writes it: every layer's past in a queue."""

from __future__ import annotations

from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet_kernels.sampling import SampleNetwork, draw_class, draw_gaussian, draw_logistic

_DRAWS = {"softmax": draw_class, "logistic": draw_logistic, "gaussian": draw_gaussian}


class EagerQueues:
    """Fast WaveNet (arXiv 1611.09482) in eager PyTorch, with the weights laid out beforehand."""

    def __init__(self, network: SampleNetwork, batch: int) -> None:
        self.network, self.batch = network, batch
        layers, gates, residual, taps = network.conv_weight.shape
        # Rows of all taps side by side: one product a layer.
        self.conv = network.conv_weight.permute(0, 1, 3, 2).reshape(layers, gates, -1)
        self.taps, self.residual = taps, residual
        zeros = network.conv_weight.new_zeros(batch, residual)
        self.queues = [
            deque([zeros] * ((taps - 1) * dilation + 1)) for dilation in network.dilations
        ]
        self.past = torch.full((batch, network.taps), network.first)
        if network.codes:
            self.past = self.past.long()

    def run(
        self, noise: Tensor, cond: Tensor, forced: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """noise (B, 4, n), cond (n, L, B, 2D) -> samples (B, n), parameters (B, P, n)."""
        network, made, said = self.network, [], []
        bias = network.conv_bias, network.out_bias
        for t in range(noise.shape[2]):
            x = network.embed(self.past)
            skips: Tensor | float = 0.0
            for n, dilation in enumerate(network.dilations):
                queue = self.queues[n]
                queue.append(x)
                queue.popleft()
                rows = torch.cat([queue[k * dilation] for k in range(self.taps)], dim=1)
                a = F.linear(rows, self.conv[n], None if bias[0] is None else bias[0][n])
                filters, gates = (a + cond[t, n]).chunk(2, dim=1)
                z = filters.tanh() * gates.sigmoid()
                out = F.linear(z, network.out_weight[n], None if bias[1] is None else bias[1][n])
                x = network.residual_scale * (x + out[:, : self.residual])
                skips = skips + out[:, self.residual :]
            assert isinstance(skips, Tensor)
            parameters = network.head(skips).unsqueeze(2)
            drawn = _DRAWS[network.draw](parameters, noise[:, :, t : t + 1])
            made.append(drawn)
            said.append(parameters)
            heard = drawn if forced is None else forced[:, t : t + 1]
            self.past = torch.cat([self.past[:, 1:], heard], dim=1)
        return torch.cat(made, dim=1), torch.cat(said, dim=2)
