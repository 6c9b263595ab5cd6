"""What a classifier's training makes smaller: cross-entropies, weighed, smoothed and focused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.classifier.data import Batch, Clip
from wavenet.classifier.model import WaveNetClassifier, highest_of
from wavenet.errors import ConfigError
from wavenet.networks.lengths import mask


class ClassificationLoss(nn.Module):
    """Cross-entropy of the classes and, weighted, of the paper's next-sample prediction, per clip.

    Of tags it is the mean over the classes of the binary cross-entropies, of events the mean over
    the frames of these.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), section 3.4: the network generalised
    better with both losses than with the first alone. The second is a clip's mean over its steps;
    it is there if the model's config has a `next_sample_weight`. It, smoothing, weights and focus
    are of training only.

    Shapes: a `Batch` of B clips -> losses (B,) float32, logits (B, classes).

    Args:
        model: says whether classes are tags.
        label_smoothing: this share of a class is dealt to all classes; of a tag half of it is
            doubted. One number, or one for each class (classes,).
        weights: (classes,), of a class's part in the loss; of tags, of a clip that has it.
        focal_gamma: parts of the loss are weighed by (1 - p)^gamma, p being the probability of what
            is true (Lin et al. 2017, arXiv 1708.02002): what is known already counts less.
    """

    smoothing: Tensor | None
    weights: Tensor | None

    def __init__(
        self,
        model: WaveNetClassifier,
        label_smoothing: float | Tensor = 0.0,
        weights: Tensor | None = None,
        focal_gamma: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.tags = model.config.tags
        self.focal_gamma = focal_gamma
        device = model.classifier.weight.device
        per_class = isinstance(label_smoothing, Tensor)
        self.label_smoothing = 0.0 if per_class else float(label_smoothing)
        smoothing = label_smoothing.to(device) if isinstance(label_smoothing, Tensor) else None
        self.register_buffer("smoothing", smoothing, persistent=False)
        moved = None if weights is None else weights.to(device, torch.float32)
        self.register_buffer("weights", moved, persistent=False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.model.config.events:
            return self._of_frames(batch)
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
        logits = logits.float()
        truth = batch.labels if batch.targets is None else batch.targets
        if not self.training:
            return self._of_tags(logits, truth) if self.tags else _plain(logits, truth)
        doubted = self.label_smoothing if self.smoothing is None else self.smoothing
        if self.tags:
            return self._of_tags(logits, truth * (1 - doubted) + doubted / 2)
        if self.smoothing is None and not self.focal_gamma:
            return F.cross_entropy(
                logits,
                truth,
                self.weights,
                reduction="none",
                label_smoothing=self.label_smoothing,
            )
        shares = F.one_hot(truth, logits.shape[1]).float() if truth.dim() == 1 else truth
        smoothed = shares * (1 - doubted)
        smoothed = smoothed + (shares * doubted).sum(1, keepdim=True) / shares.shape[1]
        surprise = -logits.log_softmax(1)
        if self.focal_gamma:
            surprise = surprise * (1 - logits.softmax(1)) ** self.focal_gamma
        if self.weights is not None:
            surprise = surprise * self.weights
        return (smoothed * surprise).sum(1)

    def _of_frames(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean over a clip's frames; the logits are the clip's, the highest of each class."""
        logits, lengths = self.model.forward_frames(batch.waveform, batch.lengths)
        assert batch.targets is not None
        frames = logits.shape[1]
        truth = batch.targets[:, :frames]
        truth = F.pad(truth, (0, 0, 0, frames - truth.shape[1]))
        losses = self._classification(logits, batch._replace(targets=truth))
        inside = mask(lengths, frames).squeeze(1)
        return (losses * inside).sum(1) / lengths, highest_of(logits, lengths)

    def _of_tags(self, logits: Tensor, truth: Tensor) -> Tensor:
        present, absent = -F.logsigmoid(logits), -F.logsigmoid(-logits)
        if self.training:
            if self.focal_gamma:
                p = logits.sigmoid()
                present = present * (1 - p) ** self.focal_gamma
                absent = absent * p**self.focal_gamma
            if self.weights is not None:
                present = present * self.weights
        return (truth * present + (1 - truth) * absent).mean(-1)


def _plain(logits: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(logits, truth, reduction="none")


def class_weights(
    clips: Sequence[Clip], labels: Sequence[str], power: float, tags: bool
) -> Tensor | None:
    """The weight of each class, (classes,), by how many of the clips have it; None of power 0.

    Of classes (1 / share)^power, 1 in the mean over the clips: at power 1 all weigh the same in the
    loss. Of tags (clips without it / clips with it)^power: at power 1 both sides weigh the same.
    """
    if not power:
        return None
    index_of = {label: index for index, label in enumerate(labels)}
    counts = torch.zeros(len(labels), dtype=torch.float64)
    for clip in clips:
        for label in clip.labels:
            counts[index_of[label]] += 1
    if tags:
        return ((len(clips) - counts).clamp(min=1) / counts.clamp(min=1)).pow(power).float()
    weights = (len(clips) / counts).pow(power)
    return (weights * len(clips) / (weights * counts).sum()).float()


def smoothing_of(labels: Sequence[str], usual: float, own: Mapping[str, float]) -> float | Tensor:
    """What `ClassificationLoss` takes: one number for all, or one for each class.

    Raises:
        ConfigError: a label that there is not.
    """
    for label in own:
        if label not in labels:
            raise ConfigError(
                f"training.label_smoothing_of has the label {label!r}; there are "
                f"{', '.join(labels)}"
            )
    return torch.tensor([own.get(label, usual) for label in labels]) if own else usual
