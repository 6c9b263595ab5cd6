"""Using a trained classifier: load it, evaluate it, predict with it, listen with it."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.classifier.inference.decisions import Decision
    from wavenet.classifier.inference.evaluate import evaluate
    from wavenet.classifier.inference.loading import load_model
    from wavenet.classifier.inference.metrics import Metrics, confusion_matrix, draw_confusion
    from wavenet.classifier.inference.predict import Prediction, find_recordings, predict
    from wavenet.classifier.inference.streaming import StreamingClassifier
    from wavenet.classifier.inference.tag_metrics import TagMetrics
    from wavenet.classifier.inference.timeline import (
        Segment,
        classify_stream,
        classify_windows,
        merge_decisions,
    )

__all__ = [
    "Decision",
    "Metrics",
    "Prediction",
    "Segment",
    "StreamingClassifier",
    "TagMetrics",
    "classify_stream",
    "classify_windows",
    "confusion_matrix",
    "draw_confusion",
    "evaluate",
    "find_recordings",
    "load_model",
    "merge_decisions",
    "predict",
]
