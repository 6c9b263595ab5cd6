"""A fused stack in a network of your own, trained by a plain loop: which of three pitches is it?

    python examples/plain_loop.py

Needs torch alone. The other examples train the same network on the same tones.
"""

import math

import torch
from torch import Tensor, nn

from wavenet_kernels.nn import CausalConv1d, ResidualStack

RATE = 4000
PITCHES = (150.0, 500.0, 1500.0)


class PitchNet(nn.Module):
    """Waveform (B, T) -> logits (B, 3): a strided stem, a WaveNet's layers, the mean of skips."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = CausalConv1d(1, channels, kernel_size=16, stride=8)
        self.stack = ResidualStack(
            channels, channels, 2 * channels, dilations=[1, 2, 4, 8], last_residual=False
        )
        self.logits = nn.Linear(2 * channels, len(PITCHES))

    def forward(self, waveform: Tensor) -> Tensor:
        _, skip = self.stack(self.stem(waveform.unsqueeze(1)))
        return self.logits(skip.relu().mean(2))


def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Waveforms (count, T) of 0.2 s with noise, and which pitch (count,) each has."""
    random = torch.Generator().manual_seed(seed)
    which = torch.randint(len(PITCHES), (count,), generator=random)
    pitch = torch.tensor(PITCHES)[which] * (0.9 + 0.2 * torch.rand(count, generator=random))
    time = torch.arange(RATE // 5) / RATE
    phase = 2 * math.pi * torch.rand(count, 1, generator=random)
    sound = 0.4 * torch.sin(2 * math.pi * pitch[:, None] * time + phase)
    return sound + 0.05 * torch.randn(sound.shape, generator=random), which


def accuracy(model: nn.Module) -> float:
    """On tones that training has not heard."""
    waveform, which = tones(90, seed=1)
    with torch.inference_mode():
        device = next(model.parameters()).device
        return (model(waveform.to(device)).argmax(1).cpu() == which).float().mean().item()


def main(steps: int = 60) -> float:
    """Train, and return the accuracy."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = PitchNet().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        waveform, which = (part.to(device) for part in tones(16, seed=100 + step))
        loss = nn.functional.cross_entropy(model(waveform), which)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    reached = accuracy(model)
    print(f"plain loop: {reached:.1%} of 90 tones after {steps} steps")
    return reached


if __name__ == "__main__":
    main()
