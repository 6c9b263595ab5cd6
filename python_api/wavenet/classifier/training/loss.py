"""The training loss as a module, so that what is distributed is the model with its loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.classifier.data import Batch
from wavenet.classifier.model import WaveNetClassifier


class ClassificationLoss(nn.Module):
    """Cross-entropy of the classes and, weighted, of the paper's next-sample prediction, per clip.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), section 3.4: the network generalised
    better with both losses than with the first alone. The second is a clip's mean over its steps;
    it is there if the model's config has a `next_sample_weight`, and only in training.

    Shapes: a `Batch` of B clips -> losses (B,) float32, logits (B, classes).
    """

    def __init__(self, model: WaveNetClassifier, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        weight = self.model.config.next_sample_weight
        if weight == 0 or not self.training:
            logits = self.model(batch.waveform, batch.lengths)
            return self._classification(logits, batch), logits
        logits, following = self.model.forward_with_next_sample(batch.waveform, batch.lengths)
        summed = F.cross_entropy(following.logits.float(), following.targets, reduction="none")
        # Clips of one sample have no next one: they must not divide by zero.
        steps = (following.targets >= 0).sum(1).clamp(min=1)
        return self._classification(logits, batch) + weight * summed.sum(1) / steps, logits

    def _classification(self, logits: Tensor, batch: Batch) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        truth = batch.labels if batch.targets is None else batch.targets
        return F.cross_entropy(logits.float(), truth, reduction="none", label_smoothing=smoothing)
