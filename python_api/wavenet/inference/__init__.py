"""Using a trained classifier: load it, evaluate it, predict with it."""

from wavenet.inference.evaluate import confusion_picture, evaluate
from wavenet.inference.loading import ModelError, load_model
from wavenet.inference.metrics import Metrics, confusion_matrix
from wavenet.inference.predict import Prediction, find_recordings, predict

__all__ = [
    "Metrics",
    "ModelError",
    "Prediction",
    "confusion_matrix",
    "confusion_picture",
    "evaluate",
    "find_recordings",
    "load_model",
    "predict",
]
