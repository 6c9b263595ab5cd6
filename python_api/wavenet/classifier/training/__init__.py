"""Training a classifier: batches, the learner and its step, checkpoints, processes, the loop."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.classifier.training.loop import Result, train

__all__ = ["Result", "train"]
