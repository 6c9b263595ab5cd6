"""What is loaded when, and what is said where a package is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import wavenet

CLASSIFIER = (
    "accelerate",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "rich",
    "safetensors",
    "soundfile",
    "soxr",
    "tensorboard",
    "typer",
    "yaml",
)

# As if none of the extra "classifier" were installed; some of torch's modules ask for them, too.
HIDDEN = f"""
import importlib.abc, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {CLASSIFIER}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, which prints what it is asked for."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_importing_wavenet_and_its_help_load_next_to_nothing():
    code = (
        "import sys, wavenet; dir(wavenet); print(*sys.modules)\n"
        "sys.argv = ['wavenet', '--help']\n"
        "from wavenet.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(*sys.modules)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    of_wavenet, of_help = (
        {name.partition(".")[0] for name in line.split()} for line in (lines[0], lines[-1])
    )
    assert not of_wavenet & {*CLASSIFIER, "torch", "numpy", "wavenet_kernels"}
    assert not of_help & ({*CLASSIFIER, "torch", "numpy", "wavenet_kernels"} - {"typer", "rich"})
    assert "cross-validate" in done.stdout


@pytest.mark.slow
def test_without_the_extra_layers_and_audio_are_there_and_the_rest_says_what_it_needs(tmp_path):
    code = f"""{HIDDEN}
import torch
from wavenet_kernels import residual_stack
import wavenet
from wavenet.nn import ResidualStack
from wavenet.audio import mu_law_encode, read_audio
assert ResidualStack(2, 2, 2, dilations=[1])(torch.zeros(1, 2, 5))[1].shape == (1, 2, 5)
assert int(mu_law_encode(torch.ones(1))) == 255

def said(call):
    try:
        call()
    except ImportError as error:
        print(f"{{type(error).__name__}}: {{error}}")

def training():
    import wavenet.classifier.training

def configuration():
    import wavenet.classifier.run_config

open("a.wav", "wb").write(b"RIFF")
said(lambda: read_audio("a.wav", 8000))
said(lambda: wavenet.load_model("runs/mine"))
said(lambda: wavenet.StreamingClassifier)
said(training)
said(configuration)
from wavenet.pictures import new_figure
said(lambda: new_figure(1, 1))
"""
    code = f"import os; os.chdir({str(tmp_path)!r})\n{code}"
    done = python(code)
    assert done.returncode == 0, done.stderr
    packages = []
    for line in done.stdout.splitlines():
        sentence = r"MissingPackageError: this part of wavenet needs (\w+): pip install '(.*)'"
        match = re.fullmatch(sentence, line)
        assert match and match[2] == "wavenet-kernels[classifier]", line
        packages.append(match[1])
    assert (packages[0], packages[-1], len(packages)) == ("soundfile", "matplotlib", 6)
    assert set(packages) <= {*CLASSIFIER}


def test_without_the_extra_the_command_line_says_so():
    done = python(f"{HIDDEN}\nfrom wavenet.cli import main\nmain()", "train", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    sentence = "this part of wavenet needs typer: pip install 'wavenet-kernels[classifier]'"
    assert done.stderr == f"error: {sentence}\n"


def test_without_one_package_a_command_says_so(monkeypatch, wavenet, tmp_path):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    done = wavenet("synth", tmp_path / "sounds")
    assert done.code == 2
    assert done.err.startswith("error: this part of wavenet needs soundfile: pip install ")
    assert not list(tmp_path.iterdir())


def test_what_wavenet_offers_is_listed():
    assert set(wavenet.__all__) <= set(dir(wavenet))
    for name in wavenet.__all__:
        assert getattr(wavenet, name) is not None
    with pytest.raises(AttributeError, match="module 'wavenet' has no attribute 'wings'"):
        wavenet.wings  # noqa: B018
