"""The same network as a LightningModule (pip install lightning).

python examples/lightning_module.py
"""

import lightning
import torch
from plain_loop import PitchNet, accuracy, tones
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class PitchModule(lightning.LightningModule):
    """What Lightning's Trainer trains."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PitchNet()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        waveform, which = batch
        return nn.functional.cross_entropy(self.net(waveform), which)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def main(steps: int = 60) -> float:
    """Train, and return the accuracy."""
    torch.manual_seed(0)
    module = PitchModule()
    loader = DataLoader(TensorDataset(*tones(16 * steps, seed=2)), batch_size=16)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, loader)
    reached = accuracy(module.net)
    print(f"Lightning: {reached:.1%} of 90 tones after {steps} steps")
    return reached


if __name__ == "__main__":
    main()
