"""Programs in examples/ run and do what they say; one whose library is missing is skipped."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from wavenet import create_model
from wavenet.classifier.data import find_clips
from wavenet.classifier.inference.export import export_model

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAINING = {
    "plain_loop": "torch",
    "accelerate_loop": "accelerate",
    "lightning_module": "lightning",
    "huggingface_trainer": "transformers",
}


@pytest.fixture
def example(monkeypatch):
    """An example as a module, where its library is installed."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name: str, library: str):
        pytest.importorskip(library)
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("name", TRAINING)
def test_it_learns(example, name):
    assert example(name, TRAINING[name]).main() > 0.9


def test_onnxruntime_needs_no_torch_to_classify(example):
    found = example("onnx_runtime", "onnxruntime").main()
    assert list(found) == ["dog", "rain"] and sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("tags", [False, True])
def test_onnxruntime_means_what_the_model_means(example, tmp_path, tags):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    fields = {"labels": ("dog", "rain"), "sample_rate": 8000, "tags": tags}
    waveform = torch.rand(4000) - 0.5
    model = create_model("wavenet-tiny", **fields, thresholds=(0.999, 0.002)).eval()
    (exported,) = export_model(model, ["onnx"], int8=False)[1:]
    (tmp_path / "model.onnx").write_bytes(exported.content)
    found, meant = example("onnx_runtime", "onnxruntime").classify(
        tmp_path / "model.onnx", waveform.numpy()
    )
    with torch.inference_mode():
        truth = model.config.rule.probabilities(model(waveform[None])[0])
    assert list(found.values()) == pytest.approx(truth.tolist(), abs=1e-4)
    assert meant == [label for label, _ in model.config.rule.meant(truth)]


def test_a_dataset_with_an_audio_column(example, tmp_path):
    pytest.importorskip("torchcodec")  # without it datasets takes no audio
    folder = example("datasets_audio", "datasets").main(tmp_path)
    assert {clip.label for clip in find_clips(folder)} == {"150 Hz", "500 Hz", "1500 Hz"}


def test_all_of_them_are_tested():
    tested = {*TRAINING, "onnx_runtime", "datasets_audio", "fsdd_manifest"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested
