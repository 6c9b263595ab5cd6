"""Exported files agree with the model, and run where this package is not."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys

import pytest
import torch
from norms import with_statistics

from wavenet import WaveNetClassifier, WaveNetConfig, load_model
from wavenet.classifier.inference import export
from wavenet.errors import MissingPackageError, ModelError
from wavenet.portable import onnx_function

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tones, tmp_path_factory):
    """The command's files of the run; made once."""
    from typer.testing import CliRunner

    from wavenet.cli import application

    out = tmp_path_factory.mktemp("exported")
    command = ["export", str(tones.run), "--out", str(out), "--seconds", "0.2", "--threads", "1"]
    done = CliRunner().invoke(application(), command)
    assert done.exit_code == 0, done.output
    return out, done.output


def test_files_and_a_table(exported):
    out, printed = exported
    files = {"model.onnx", "model.int8.onnx", "model.pt2", "model.wavenet"}
    assert {path.name for path in out.iterdir()} == files
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in printed.splitlines()
        if line.startswith("│")
    }
    assert set(rows) == {"PyTorch", *files}
    assert rows.pop("model.wavenet")[1:] == ["-", "-", "-"]  # not run here
    for name in ("model.onnx", "model.pt2"):
        assert float(rows[name][1]) <= 1e-4
    accuracies = {name: float(row[3].removesuffix("%")) for name, row in rows.items()}
    assert accuracies["model.onnx"] == accuracies["PyTorch"] == accuracies["model.pt2"]
    assert accuracies["model.int8.onnx"] >= accuracies["PyTorch"] - 12  # one of nine clips
    assert "9 clips (test)" in printed


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (1, 40), (5, 4001)])
def test_onnx_takes_any_batch_and_time(tones, exported, batch, time):
    model = load_model(tones.run)
    waveform = torch.rand(batch, time) * 2 - 1
    lengths = torch.randint(1, time + 1, (batch,))
    session = onnxruntime.InferenceSession(exported[0] / "model.onnx")
    inputs = {"waveform": waveform.numpy(), "lengths": lengths.numpy()}
    (logits,) = session.run(["logits"], inputs)
    with torch.inference_mode():
        expected = model(waveform, lengths)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-4)
    meta = session.get_modelmeta().custom_metadata_map
    assert meta["labels"] == '["high", "low", "middle"]' and meta["sample_rate"] == "4000"


def test_the_torch_file_runs_without_this_package(tones, exported):
    program = (
        "import sys, torch; sys.modules['wavenet_kernels'] = sys.modules['wavenet'] = None;"
        f"extra = {{'config.json': ''}};"
        f"p = torch.export.load({str(exported[0] / 'model.pt2')!r}, extra_files=extra);"
        "x = torch.linspace(-1, 1, 800).unsqueeze(0);"
        "print(p.module()(x, torch.tensor([700])).tolist()[0], 'middle' in extra['config.json'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    waveform = torch.linspace(-1, 1, 800).unsqueeze(0)
    with torch.inference_mode():
        expected = load_model(tones.run)(waveform, torch.tensor([700]))[0]
    listed, _, has_config = done.stdout.rpartition(" ")
    got = torch.tensor([float(x) for x in listed.strip("[]").split(",")])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert has_config.strip() == "True"


def test_weights_are_constants_in_int8(exported):
    graph = onnx.load(exported[0] / "model.int8.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 1  # the stem
    assert kinds.count("ConvInteger") == 4 * 2 + 2  # stack and head


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "one-hot", "pooling": "max"},
        {"input": "raw", "pooling": "attention", "clip_norm": True},
        {"filters": 4, "filter_layers": 2, "stem_kernel_size": 100, "stem_stride": 40},
        {
            **{"filters": 4, "filter_layers": 2, "filter_norm": "batch", "filter_blocks": 1},
            **{"stack_norm": "batch", "stem_kernel_size": 100, "stem_stride": 40},
        },
    ],
)
def test_other_inputs_and_pooling_export(fields):
    fields = {"stem_kernel_size": 3, **fields}
    config = WaveNetConfig(
        labels=("a", "b"),
        sample_rate=4000,
        residual_channels=4,
        dilation_channels=4,
        skip_channels=4,
        layers_per_stack=1,
        stacks=1,
        head_layers=0,
        **fields,
    )
    model = with_statistics(WaveNetClassifier(config))
    made = {file.name: file for file in export.export_model(model, int8=False)}
    assert set(made) == {"PyTorch", "model.onnx", "model.pt2", "model.wavenet"}
    assert all(f.difference <= export.TOLERANCE for f in made.values() if f.difference is not None)
    nodes = onnx.load_from_string(made["model.onnx"].content).graph.node
    assert "BatchNormalization" not in {node.op_type for node in nodes}
    assert model.config == config  # what is exported is a copy


def test_what_is_not_the_model_is_not_written(tones, tmp_path, monkeypatch, wavenet):
    monkeypatch.setattr(export, "program_of", lambda model: None)
    monkeypatch.setattr(export, "torch_bytes", lambda program, config: b"another model")
    other = torch.ones(1, 3)
    monkeypatch.setattr(export, "torch_function", lambda content: lambda *inputs: other)
    done = wavenet("export", tones.run, "--out", tmp_path / "out", "--format", "torch")
    assert done.code == 2
    assert "model.pt2: its logits differ from PyTorch's by" in done.err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def quick(monkeypatch):
    """Exporting that stops before it exports: what comes before it is the matter."""

    def stop(model, formats, **settings):
        raise ModelError(f"measured: {settings['accuracy'] is not None}")

    monkeypatch.setattr(export, "export_model", stop)


def test_a_model_without_its_recordings_is_exported_without_accuracy(
    tones, tmp_path, wavenet, quick
):
    run = shutil.copytree(tones.run, tmp_path / "run")
    table = (run / "clips.csv").read_text()
    (run / "clips.csv").write_text(table.replace(str(tones.manifest.parent), "/gone"))
    done = wavenet("export", run, "--out", tmp_path / "out")
    assert done.code == 2 and "accuracy is not measured: none of the 9 clips" in done.err
    assert "measured: False" in done.err
    done = wavenet("export", run, "--out", tmp_path / "out", "--split", "test")
    assert done.code == 2 and "error: none of the 9 clips can be used" in done.err
    (run / "clips.csv").unlink()
    done = wavenet("export", run, "--out", tmp_path / "out", "--split", "test")
    assert done.code == 2 and "does not say which data it was trained on; give --data" in done.err
    assert "measured: False" in wavenet("export", run, "--out", tmp_path / "out").err


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="onnxruntime: pip install .*export"):
        onnx_function(b"")
    assert importlib.import_module("onnx")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--format", "tflite"), "format is 'tflite'; accepted are onnx, torch"),
        (("--format", "onnx", "--weights", "int8"), "weights is 'int8'; accepted is float32 where"),
        (("--seconds", "0"), "seconds is 0.0; accepted is more than 0"),
        (("--seconds", "0.001"), "seconds is 0.001; accepted is at least 0.02, 2 frames"),
        (("--seconds", "1e30"), "seconds is 1e+30; accepted is more than 0, up to"),
        (("--data", "nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_the_command_says_what_is_wrong(tones, tmp_path, wavenet, options, sentence):
    done = wavenet("export", tones.run, "--out", tmp_path / "out", *options)
    assert done.code == 2 and sentence in done.err
