"""Training a classifier or a generative model.

Batches, the learner and its step, checkpoints, processes, the loop, and what has its own way for
each kind of model (`tasks`).
"""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.classifier.training.loop import Result, train

__all__ = ["Result", "train"]
