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


def classify(model: Path, waveform: np.ndarray) -> dict[str, float]:
    """Each label's probability; `waveform` is float32 (T,) in [-1, 1] at the model's rate."""
    session = onnxruntime.InferenceSession(model)
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    lengths = np.array([len(waveform)], np.int64)
    (logits,) = session.run(None, {"waveform": waveform[None], "lengths": lengths})
    shares = np.exp(logits[0] - logits[0].max())
    return dict(zip(labels, (shares / shares.sum()).tolist(), strict=True))


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
        found = classify(path, waveform)
    with torch.inference_mode():
        truth = model(torch.from_numpy(waveform)[None]).softmax(1)[0]
    assert np.allclose(list(found.values()), truth.numpy(), atol=1e-5)
    print(f"onnxruntime: {found}")
    return found


if __name__ == "__main__":
    main()
