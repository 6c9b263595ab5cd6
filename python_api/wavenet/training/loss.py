"""The training loss as a module, so that what is distributed is the model with its loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.data import Batch
from wavenet.models import WaveNetClassifier


class ClassificationLoss(nn.Module):
    """Cross-entropy of the classes and, weighted, of the paper's next-sample prediction.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), section 3.4. The second term is there if
    the model's config has a `next_sample_weight`, and only in training.

    Shapes: a `Batch` -> loss (), logits (B, classes).
    """

    def __init__(self, model: WaveNetClassifier, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        weight = self.model.config.next_sample_weight
        if weight == 0 or not self.training:
            logits = self.model(batch.waveform, batch.lengths)
            return self._classification(logits, batch.labels), logits
        logits, following = self.model.forward_with_next_sample(batch.waveform, batch.lengths)
        # Clips of one sample have no next one; a batch of such alone must not divide by zero.
        total = F.cross_entropy(following.logits.float(), following.targets, reduction="sum")
        next_sample = total / (following.targets >= 0).sum().clamp(min=1)
        return self._classification(logits, batch.labels) + weight * next_sample, logits

    def _classification(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
