"""The same loop on whatever machines there are, by accelerate: several processes, mixed precision.

accelerate launch examples/accelerate_loop.py
"""

import torch
from accelerate import Accelerator
from plain_loop import PitchNet, accuracy, tones
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main(steps: int = 60) -> float:
    """Train, and return the accuracy."""
    torch.manual_seed(0)
    accelerator = Accelerator()
    model = PitchNet()
    loader = DataLoader(TensorDataset(*tones(16 * steps, seed=2)), batch_size=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for waveform, which in loader:
        loss = nn.functional.cross_entropy(model(waveform), which)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
    reached = accuracy(accelerator.unwrap_model(model))
    accelerator.print(f"accelerate: {reached:.1%} of 90 tones after {len(loader)} steps")
    return reached


if __name__ == "__main__":
    main()
