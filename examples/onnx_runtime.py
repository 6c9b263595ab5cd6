"""A classifier without torch and without this package: its ONNX file in onnxruntime.

    python examples/onnx_runtime.py            # pip install 'wavenet-kernels[export]'

`classify` is all that a program needs which has the file; `wavenet export RUN --out FOLDER` writes
it. Here a network of random weights is exported, and the logits compared.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime


def classify(model: Path, waveform: np.ndarray) -> tuple[dict[str, float], list[str]]:
    """Each label's probability, and the labels that are meant.

    These are, of a model of tags, all that reach their thresholds, else the likeliest if it does.
    `waveform` is float32 (T,) in [-1, 1] at the model's rate.
    """
    session = onnxruntime.InferenceSession(model)
    metadata = session.get_modelmeta().custom_metadata_map
    labels, tags, least = (json.loads(metadata[x]) for x in ("labels", "tags", "thresholds"))
    lengths = np.array([len(waveform)], np.int64)
    (logits,) = session.run(None, {"waveform": waveform[None], "lengths": lengths})
    if tags:
        probabilities = 1 / (1 + np.exp(-logits[0]))
        candidates = np.arange(len(labels))
    else:
        shares = np.exp(logits[0] - logits[0].max())
        probabilities = shares / shares.sum()
        candidates = probabilities.argmax(keepdims=True)
    meant = [labels[i] for i in candidates if probabilities[i] >= least[i]]
    return dict(zip(labels, probabilities.tolist(), strict=True)), meant


def main() -> dict[str, float]:
    """Export a model, run the file, compare."""
    import torch

    import wavenet
    from wavenet.classifier.inference.export import export_model

    torch.manual_seed(0)
    model = wavenet.create_model("wavenet-tiny", labels=("dog", "rain"), sample_rate=8000)
    (exported,) = (e for e in export_model(model, ["onnx"], int8=False) if e.name == "model.onnx")
    waveform = (torch.rand(8000) - 0.5).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / exported.name
        path.write_bytes(exported.content)
        found, meant = classify(path, waveform)
    with torch.inference_mode():
        truth = model(torch.from_numpy(waveform)[None]).softmax(1)[0]
    assert np.allclose(list(found.values()), truth.numpy(), atol=1e-5)
    print(f"onnxruntime: {found}, {meant}")
    return found


if __name__ == "__main__":
    main()
