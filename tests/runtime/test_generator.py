"""The C library says what WaveNet.generate says, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_classifiers import small, write
from small_generators import CASES, inputs_of, small_generator
from typer.testing import CliRunner

from benchmarks.compiled.c_library import Listener, Refused, Speaker
from wavenet.cli import application
from wavenet.errors import DataError
from wavenet.generation.runtime import generator_file

pytestmark = pytest.mark.slow  # the library is compiled first

SPEAKERS = {"speakers": "jackson", "speaker vectors": torch.tensor([0.1, -0.3, 0.5])}
TOLD = [case for case in CASES if case.startswith(("mel", "notes"))]
ROUNDED = [*TOLD, "logistic companded"]  # where not all bits are Python's


def written(case: str, folder: Path, **fields: object) -> Path:
    path = folder / "model.wavenet"
    speaker = SPEAKERS.get("speakers" if "speakers" in CASES[case] else case)
    path.write_bytes(generator_file(small_generator(case, **fields), speaker))
    return path


@pytest.mark.parametrize("case", [case for case in CASES if case not in ROUNDED])
def test_the_same_bits_as_in_python(library, tmp_path, case):
    model = small_generator(case, gain=0.7)
    speaking = Speaker(library, written(case, tmp_path, gain=0.7), 7, 0.9)
    expected = model.generate(samples=600, seed=7, temperature=0.9, speaker=SPEAKERS.get(case))
    for _ in range(2):
        made = np.concatenate([speaking.run(count) for count in (1, 299, 0, 300)])
        assert np.array_equal(made, expected[0].numpy())
        speaking.reset()


@pytest.mark.parametrize("fields", [{}, {"gain": 0.7, "pre_emphasis": 0.85}], ids=["", "finished"])
@pytest.mark.parametrize("case", ROUNDED)
def test_to_rounding_what_python_makes(library, tmp_path, case, fields):
    """However frames and samples are cut."""
    model = small_generator(case, **fields)
    speaking = Speaker(library, written(case, tmp_path, **fields), 7, 0.9)
    given = inputs_of(model, 1, samples=640)
    if "speaker" in given:
        given["speaker"] = SPEAKERS["speakers"]
    expected = model.generate(samples=640, seed=7, temperature=0.9, **given)[0].numpy()
    frames = given["mel"][0].T.numpy() if "mel" in given else np.zeros((0, 0), np.float32)
    for many, count in ((1, 1000), (40, 7), (3, 64)):
        made, taken = [], 0
        while sum(map(len, made)) < 640:
            if taken < len(frames):
                taken += speaking.push(frames[taken : taken + many])
                if taken == len(frames):
                    speaking.finish()
            made.append(speaking.run(count if len(frames) else min(count, 640)))
        assert not len(frames) or len(speaking.run(1)) == 0  # all of it was made
        said = np.concatenate(made)[:640]
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(said, expected, atol=2e-5)
        speaking.reset()


def test_as_soon_as_its_frames_are_there(library, tmp_path):
    speaking = Speaker(library, written("mel interpolated", tmp_path), 0, 1.0)
    assert (speaking.frame_channels, speaking.frame_samples) == (5, 16)
    model = small_generator("mel interpolated")
    frames = np.float32(inputs_of(model, 1, 64)["mel"][0].T.numpy())
    assert len(speaking.run(100)) == 0  # nothing was said yet
    made = [speaking.push(frames[:1]) and len(speaking.run(100)) for _ in range(8)]
    # Two frames of context, and two that smoothing reaches.
    assert made == [0, 0, 0, 0, 16, 16, 16, 16]
    speaking.finish()
    assert len(speaking.run(100)) == 4 * 16
    assert speaking.push(frames) == 0  # it has ended
    speaking.reset()
    assert 16 <= speaking.push(np.repeat(frames, 100, axis=0)) < 50
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            speaking.push(np.full((1, 5), bad))
    beyond = np.concatenate([np.repeat(frames, 100, axis=0), np.full((1, 5), np.nan)])
    assert speaking.push(beyond) == 0  # a whole signal is not searched anew by each call
    plain = Speaker(library, written("codes", tmp_path), 0, 1.0)
    assert plain.frame_channels == plain.push(frames) == 0


def test_context_that_is_cut_may_be_long(library, tmp_path):
    """Room for it is room beside that for frames to come."""
    fields = {"context_frames": 40}
    speaking = Speaker(library, written("mel repeated", tmp_path, **fields), 0, 1.0)
    model = small_generator("mel repeated", **fields)
    frames = inputs_of(model, 1, 640)["mel"]
    told, made = np.ascontiguousarray(frames[0].T.numpy()), []
    while len(told):
        taken = speaking.push(told)
        made.append(speaking.run(1000))
        assert taken or len(made[-1])
        told = told[taken:]
    speaking.finish()
    expected = model.generate(frames, seed=0)[0].numpy()
    np.testing.assert_allclose(np.concatenate([*made, speaking.run(1000)]), expected, atol=2e-5)


def test_bad_arguments_get_a_sentence(library, tmp_path):
    path = written("codes", tmp_path)
    for temperature in (0.0, -1.0, float("nan"), float("inf"), 1e-60):
        with pytest.raises(Refused, match="temperature is not above 0 and finite"):
            Speaker(library, path, 0, temperature)
    with pytest.raises(Refused, match="model is no classifier"):
        Listener(library, path, 1.0, 0.1)
    with pytest.raises(Refused, match="model does not generate"):
        Speaker(library, write(small(), tmp_path), 0, 1.0)


def test_a_past_that_no_network_has_is_refused(library, tmp_path):
    """Though its numbers are few: rows of one channel are filled up to vectors."""
    few = {"residual_channels": 1, "dilation_channels": 1, "skip_channels": 1, "stacks": 1}
    assert len(Speaker(library, written("codes", tmp_path, **few), 0, 1.0).run(3)) == 3
    with pytest.raises(Refused, match="has impossible dilations") as refused:
        Speaker(library, written("codes", tmp_path, **few, layers_per_stack=21), 0, 1.0)
    assert refused.value.status == 2
    taps = {"layers_per_stack": 2, "kernel_size": 65536}
    with pytest.raises(Refused, match="has impossible sizes"):
        Speaker(library, written("codes", tmp_path, **few, **taps), 0, 1.0)


def test_parameters_that_are_not_finite_are_said(library, tmp_path):
    model = small_generator("logistic")
    with torch.no_grad():
        model.output.bias[0] = float("nan")
    path = tmp_path / "model.wavenet"
    path.write_bytes(generator_file(model))
    with pytest.raises(FloatingPointError):
        Speaker(library, path, 0, 1.0).run(5)


def test_exported_by_the_command(library, tmp_path):
    model = small_generator("speakers")
    model.save_pretrained(tmp_path / "run")

    def export(*options: str) -> str:
        command = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), *options]
        done = CliRunner().invoke(application(), command)
        assert done.exit_code == 0 or isinstance(done.exception, (DataError, SystemExit)), done
        return done.output + str(done.exception)

    export("--speaker", "george", "--format", "runtime")
    said = Speaker(library, tmp_path / "out" / "model.wavenet", 3, 1.0).run(50)
    expected = model.generate(samples=50, seed=3, speaker="george")[0].numpy()
    assert np.array_equal(said, expected)
    assert "accepted of a generative model is runtime" in export("--format", "onnx")
    assert "accepted of a generative model is float32" in export("--weights", "int8")
    assert "nobody" in export("--speaker", "nobody")
