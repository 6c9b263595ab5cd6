"""Choosing a backend: by name, by context, by variable; refusals that say why."""

from __future__ import annotations

import os
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
import torch

import wavenet_kernels
from wavenet_kernels import BackendUnavailableError, available_backends, backends, use_backend

a = torch.randn(2, 4, 5)


def _python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **env}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_reference_and_cpu_work_everywhere():
    assert available_backends()[:2] == ("reference", "cpu")


def test_use_backend_as_context_and_as_call():
    with use_backend("reference"):
        assert backends.current_backend() == "reference"
        with use_backend("cpu"):
            assert backends.current_backend() == "cpu"
        assert backends.current_backend() == "reference"
    assert backends.current_backend() == "auto"
    use_backend("reference")
    assert backends.current_backend() == "reference"
    use_backend("auto")


def test_a_context_made_before_takes_hold_when_entered():
    context = use_backend("cpu")
    use_backend("reference")
    with context:
        assert backends.current_backend() == "cpu"
    use_backend("auto")


def test_context_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), use_backend("reference"):
        1 / 0  # noqa: B018
    assert backends.current_backend() == "auto"


def test_unknown_name():
    with pytest.raises(ValueError, match="use_backend: 'tensorrt' is not a backend; accepted are"):
        use_backend("tensorrt")


def test_variable():
    code = "import wavenet_kernels.backends as b; print(b.current_backend())"
    assert _python(code, WAVENET_KERNELS_BACKEND="reference").stdout.strip() == "reference"
    assert _python(code, WAVENET_KERNELS_BACKEND="").stdout.strip() == "auto"
    code = "import torch, wavenet_kernels as w; w.gated_activation(torch.zeros(1, 2, 3))"
    error = _python(code, WAVENET_KERNELS_BACKEND="fast").stderr
    assert "WAVENET_KERNELS_BACKEND: 'fast' is not a backend" in error


def test_a_named_backend_never_falls_back(monkeypatch):
    x, weight = torch.randn(1, 2, 9), torch.randn(4, 2, 2)
    monkeypatch.delattr(backends.load("triton"), "dilated_conv1d")
    with use_backend("triton"):
        with pytest.raises(BackendUnavailableError, match="float64"):
            wavenet_kernels.gated_activation(a.double())
        with pytest.raises(BackendUnavailableError, match="up to 512 channels, not 600"):
            wavenet_kernels.gated_conv1d(x, torch.randn(1200, 2, 2))
        with pytest.raises(BackendUnavailableError, match='no dilated_conv1d; use_backend."auto"'):
            wavenet_kernels.dilated_conv1d(x, weight)


def test_a_missing_backward_is_said_in_the_forward(monkeypatch):
    monkeypatch.delattr(backends.load("reference"), "gated_activation_backward")
    with use_backend("reference"):
        wavenet_kernels.gated_activation(a)
        with pytest.raises(BackendUnavailableError, match="no backward of gated_activation"):
            wavenet_kernels.gated_activation(a.clone().requires_grad_())


def test_auto_looks_further():
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(backends.load("cpu"), "gated_activation")
        torch.testing.assert_close(
            wavenet_kernels.gated_activation(a.clone().requires_grad_()).detach(),
            wavenet_kernels.reference.gated_activation(a),
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_backend_says_why_not():
    with use_backend("cuda"), pytest.raises(BackendUnavailableError, match="does not work here"):
        wavenet_kernels.gated_activation(a)


def test_import_loads_no_backend_and_touches_no_gpu():
    code = (
        "import sys, torch, wavenet_kernels, wavenet\n"
        "loaded = [m for m in sys.modules if m.startswith('wavenet_kernels.backends.')]\n"
        "loaded += [m for m in ('triton', 'wavenet_kernels._cpu', 'wavenet_kernels._cuda')"
        " if m in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    done = _python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("first", ["wavenet_kernels", "torch.utils.flop_counter"])
def test_flops_are_counted_whichever_is_imported_first(first):
    code = (
        f"import {first}\n"
        "import torch, wavenet_kernels\n"
        "from torch.utils.flop_counter import FlopCounterMode\n"
        "with FlopCounterMode(display=False) as counter:\n"
        "    wavenet_kernels.dilated_conv1d(torch.zeros(1, 2, 3), torch.zeros(4, 2, 1))\n"
        "assert counter.get_total_flops() == 48\n"
    )
    done = _python(code)
    assert done.returncode == 0, done.stderr


def test_a_second_import_is_refused_with_a_sentence():
    code = (
        "import sys, wavenet_kernels\n"
        "for name in [m for m in sys.modules if m.split('.')[0] == 'wavenet_kernels']:\n"
        "    del sys.modules[name]\n"
        "import wavenet_kernels\n"
    )
    (*_, sentence) = _python(code).stderr.splitlines()
    assert sentence.startswith("ImportError: wavenet_kernels was imported before and then deleted")


def test_programs_that_freeze_applications_find_every_backend():
    folder = Path(wavenet_kernels.__file__).parents[1]
    finder = ModuleFinder(path=[str(folder)])  # where torch and the standard library are not
    finder.load_file(str(folder / "wavenet_kernels" / "__init__.py"))
    assert {f"wavenet_kernels.backends.{name}" for name in backends.NAMES} <= set(finder.modules)


def test_triton_missing_is_said():
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'triton' else find(name, *a)\n"
        "import torch, wavenet_kernels as w\n"
        "w.use_backend('triton'); w.gated_activation(torch.zeros(1, 2, 3))\n"
    )
    assert "triton is not installed (pip install triton)" in _python(code).stderr


def test_an_old_triton_is_said(monkeypatch):
    backend = backends.load("triton")
    monkeypatch.setattr("triton.__version__", "3.4.0")
    assert "triton 3.4.0 is too old" in backend.unavailable.__wrapped__()


def test_module_command_lists_every_backend():
    done = subprocess.run(
        [sys.executable, "-m", "wavenet_kernels"], capture_output=True, text=True, check=True
    )
    for name in backends.NAMES:
        assert name in done.stdout
    assert torch.__version__ in done.stdout
    assert "works" in done.stdout
