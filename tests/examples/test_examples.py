"""Programs in examples/ run and do what they say; one whose library is missing is skipped."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from wavenet.classifier.data import find_clips

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


def test_a_dataset_with_an_audio_column(example, tmp_path):
    pytest.importorskip("torchcodec")  # without it datasets takes no audio
    folder = example("datasets_audio", "datasets").main(tmp_path)
    assert {clip.label for clip in find_clips(folder)} == {"150 Hz", "500 Hz", "1500 Hz"}


def test_all_of_them_are_tested():
    tested = {*TRAINING, "onnx_runtime", "datasets_audio", "fsdd_manifest"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested
