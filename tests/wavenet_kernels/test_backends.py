"""Choosing a backend: by name, by context, by variable; refusals that say why."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
import torch
from operator_cases import Case
from operator_cases import call as operator_case

import wavenet_kernels
from wavenet_kernels import (
    BackendUnavailableError,
    available_backends,
    backends,
    reference,
    use_backend,
)
from wavenet_kernels.backends.contract import KEEPS_INPUTS
from wavenet_kernels.backends.triton.launcher import interpreted
from wavenet_kernels.call import COMMON_SETTINGS, Call, Outputs, Settings, Tensors, astuple
from wavenet_kernels.ops import _run

WEIGHTS = ("conv_weight", "conv_bias", "out_weight", "out_bias")

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


@pytest.mark.slow
def test_variable():
    code = "import wavenet_kernels.backends as b; print(b.current_backend())"
    assert _python(code, WAVENET_KERNELS_BACKEND="reference").stdout.strip() == "reference"
    assert _python(code, WAVENET_KERNELS_BACKEND="").stdout.strip() == "auto"
    code = "import torch, wavenet_kernels as w; w.gated_activation(torch.zeros(1, 2, 3))"
    error = _python(code, WAVENET_KERNELS_BACKEND="fast").stderr
    assert "WAVENET_KERNELS_BACKEND: 'fast' is not a backend" in error


def test_a_named_backend_never_falls_back(monkeypatch):
    x = torch.randn(1, 2, 9)
    with use_backend("triton"):
        with pytest.raises(BackendUnavailableError, match="the triton backend computes.*float64"):
            wavenet_kernels.gated_activation(a.double())
        with pytest.raises(BackendUnavailableError, match="up to 512 channels, not 600"):
            wavenet_kernels.gated_conv1d(x, torch.randn(1200, 2, 2))
    monkeypatch.setattr(backends.load("cpu"), "supports", lambda call: "is asleep")
    with use_backend("cpu"), pytest.raises(BackendUnavailableError, match="cpu backend is asleep"):
        wavenet_kernels.gated_activation(a)


def test_auto_looks_further(monkeypatch):
    asked = []
    monkeypatch.setattr(backends.load("cpu"), "supports", lambda call: asked.append(call) or "no")
    leaf = a.clone().requires_grad_()
    z = wavenet_kernels.gated_activation(leaf)
    torch.testing.assert_close(z.detach(), wavenet_kernels.reference.gated_activation(a))
    z.sum().backward()
    assert [call.operator for call in asked] == ["gated_activation"]  # both ways are one decision


def test_a_setting_that_a_backend_does_not_have_is_refused_above_it(monkeypatch):
    x, weight = torch.randn(1, 2, 9), torch.randn(4, 2, 3)
    monkeypatch.setattr(backends.load("cpu"), "SETTINGS", COMMON_SETTINGS - {"padding"})
    with use_backend("cpu"):
        wavenet_kernels.gated_conv1d(x, weight)
        with pytest.raises(BackendUnavailableError, match="cpu backend does not have padding"):
            wavenet_kernels.gated_conv1d(x, weight, padding="same")
    z = wavenet_kernels.gated_conv1d(x, weight, padding="same")
    torch.testing.assert_close(z, reference.gated_conv1d(x, weight, padding="same"))


def test_backends_of_gpus_refuse_to_keep_gates():
    x, weights = torch.empty(2, 16, 50, device="meta"), torch.empty(1, 32, 16, 2, device="meta")
    tensors = Tensors(x, weights, None, torch.empty(1, 48, 16, device="meta"))
    for keep in ("auto", "inputs", "gates"):
        call = Call("residual_stack", tensors, Settings(dilations=(1,), keep=keep))
        assert call.keeps_gates == (keep == "gates")
    triton = backends.load("triton")
    if interpreted():
        call = replace(call, tensors=tensors.map(lambda t: torch.empty(t.shape)))
        assert triton.supports(call) == KEEPS_INPUTS


def test_supports_reads_metadata_alone():
    x, weights = torch.empty(2, 16, 50, device="meta"), torch.empty(3, 32, 16, 2, device="meta")
    out = torch.empty(3, 48, 16, device="meta")
    tensors = Tensors(x, weights, None, out)
    call = Call("residual_stack", tensors, Settings(dilations=(1, 2, 4)))
    assert backends.load("reference").supports(call) is None
    for name in ("cpu", "triton", "cuda"):
        if name != "triton" or not interpreted():
            assert "meta" in backends.load(name).supports(call)


@pytest.mark.slow
def test_a_backward_may_run_on_another_backend_than_its_forward():
    """What is saved is the contract's, not a backend's."""
    case = Case(time=30, dilations=(1, 2, 4, 8, 16), cond="local")
    tensors, settings = operator_case("residual_stack", case, torch.float32)
    arguments = dict(zip(("x", *WEIGHTS, "cond"), tensors, strict=True))
    call = Call.of("residual_stack", {**arguments, **settings, "checkpoint_every": 2})
    names = [name for name in available_backends() if name != "cuda"]
    found = []
    for saves, goes_on in itertools.product(names, names):
        outputs, _ = _run.forward(call, saves, saving=True)
        gradients = Outputs(
            residual=torch.ones_like(outputs.residual),
            skip=torch.ones_like(outputs.skip),
            saved=outputs.saved,
        )
        computed, _ = _run.backward(call, gradients, [True] * 6, goes_on)
        found.append(astuple(computed))
    for gradients in found[1:]:
        for got, expected in zip(gradients, found[0], strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_backend_says_why_not():
    with use_backend("cuda"), pytest.raises(BackendUnavailableError, match="does not work here"):
        wavenet_kernels.gated_activation(a)


@pytest.mark.slow
def test_import_loads_no_backend_and_touches_no_gpu():
    code = (
        "import sys, torch, wavenet_kernels, wavenet\n"
        "names = wavenet_kernels.backends.NAMES\n"
        "loaded = [n for n in names if f'wavenet_kernels.backends.{n}' in sys.modules]\n"
        "loaded += [m for m in ('triton', 'wavenet_kernels._cpu', 'wavenet_kernels._cuda')"
        " if m in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    done = _python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert {
        f"wavenet_kernels.backends.{name}" for name in ("eager", "cpu", "triton", "cuda")
    } <= set(finder.modules)


@pytest.mark.slow
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
    assert "triton 3.4.0 is too old" in backend._unusable_triton.__wrapped__()


@pytest.mark.slow
def test_module_command_lists_every_backend():
    done = subprocess.run(
        [sys.executable, "-m", "wavenet_kernels"], capture_output=True, text=True, check=True
    )
    for name in backends.NAMES:
        assert name in done.stdout
    assert torch.__version__ in done.stdout
    assert "works" in done.stdout


def test_an_input_of_many_taps_is_computed_alike_in_any_memory_order():
    """The cpu backend brings one of more than three taps to rows before its kernels read it."""
    x, weight = torch.randn(2, 5, 40), torch.randn(6, 5, 5)
    results = []
    for given in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
        leaves = [given.requires_grad_(), weight.clone().requires_grad_()]
        with use_backend("cpu"):
            y = wavenet_kernels.dilated_conv1d(*leaves, dilation=3)
        results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    assert all(map(torch.equal, *results))
