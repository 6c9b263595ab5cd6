"""The classifier: accuracy, training end to end, presets, streaming, exported files, a baseline."""
