"""What the CPU kernels promise: right on every instruction set, whatever threads and halos do."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from numerics import check_operator
from operator_cases import CASES, DIFFERENTIABLE, Case, call

import wavenet_kernels
import wavenet_kernels._cpu as _cpu
from wavenet_kernels import backends

ISAS = _cpu.build_info()["isas"]


@pytest.fixture
def isa(request, monkeypatch):
    if request.param not in _cpu.build_info()["usable_isas"]:
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", request.param)
    return request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_every_instruction_set_obeys_the_rule(isa, operator, case):
    tensors, settings = call(operator, case, torch.float32)
    gradients = hasattr(backends.load("cpu"), f"{operator}_backward")
    check_operator(operator, tensors, settings, "cpu", gradients=gradients)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("channels", [256, 300])
def test_long_sums_are_as_exact_as_eager(isa, channels):
    """768 and more products a sum, where the order of summation decides about the error."""
    case = Case(batch=1, residual=channels, dilation_channels=48, skip=16, taps=3, time=150)
    for operator in ("dilated_conv1d", "gated_conv1d"):
        tensors, settings = call(operator, case, torch.float32)
        check_operator(operator, tensors, settings, "cpu", gradients=False)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_a_large_bias_costs_no_precision(isa):
    case = Case(batch=1, residual=64, dilation_channels=32, taps=2, time=300)
    for operator in ("dilated_conv1d", "gated_conv1d"):
        tensors, settings = call(operator, case, torch.float32)
        tensors[2] = 5 * tensors[2]
        check_operator(operator, tensors, settings, "cpu", gradients=False)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 10.0, 1e3])
def test_gate_is_exact_at_every_magnitude(isa, scale):
    a = scale * torch.randn(1, 46, 1000, generator=torch.Generator().manual_seed(0))
    check_operator("gated_activation", [a, None], {}, "cpu", gradients=False)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_gate_treats_special_values_as_torch_does(isa):
    values = [0.0, -0.0, 1e-38, -1e-40, 1e-45, 100.0, -100.0, 88.0, -88.0, 89.5, -89.5]
    special = torch.tensor([*values, float("inf"), float("-inf"), float("nan")])
    a = torch.cartesian_prod(special, special).T[None]
    with wavenet_kernels.use_backend("cpu"):
        ours = wavenet_kernels.gated_activation(a)
    eager = wavenet_kernels.reference.gated_activation(a)
    torch.testing.assert_close(ours, eager, rtol=0, atol=1e-38, equal_nan=True)
    assert torch.equal(ours.signbit() | ours.isnan(), eager.signbit() | eager.isnan())


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_do_not_depend_on_threads(isa, case, threads):
    tensors, settings = call("residual_stack", case, torch.float32)
    results = []
    with wavenet_kernels.use_backend("cpu"):
        for count in (1, 2, 3, 7):
            threads(count)
            results.append(wavenet_kernels.residual_stack(*tensors, **settings))
    for residual, skip in results[1:]:
        assert torch.equal(residual, results[0][0]) and torch.equal(skip, results[0][1])


@pytest.mark.parametrize("cond", ["none", "global", "local"])
def test_gradients_do_not_depend_on_the_number_of_threads(threads, cond):
    case = Case(batch=3, residual=20, dilation_channels=12, time=501, cond=cond)
    tensors, settings = call("residual_stack", case, torch.float32)
    leaves = [None if t is None else t.requires_grad_() for t in tensors]
    wanted = [leaf for leaf in leaves if leaf is not None]
    results = []
    with wavenet_kernels.use_backend("cpu"):
        for count in (1, 2, 3, 7):
            threads(count)
            residual, skip = wavenet_kernels.residual_stack(*leaves, **settings)
            loss = residual.sum() + skip.square().sum()
            results.append(torch.autograd.grad(loss, wanted))
    for gradients in results[1:]:
        assert all(map(torch.equal, gradients, results[0]))


@pytest.mark.parametrize("checkpoint_every", [1, 2, 3, 5])
@pytest.mark.parametrize("cond", ["none", "global", "local"])
def test_checkpointing_changes_no_gradient(checkpoint_every, cond):
    case = Case(dilations=(1, 2, 4, 8, 3), time=150, cond=cond)
    tensors, settings = call("residual_stack", case, torch.float32)
    settings = {**settings, "last_residual": False}
    with wavenet_kernels.use_backend("cpu"):
        results = []
        for every in (1, checkpoint_every):
            leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
            settings["checkpoint_every"] = every
            _, skip = wavenet_kernels.residual_stack(*leaves, **settings)
            wanted = [leaf for leaf in leaves if leaf is not None]
            results.append(torch.autograd.grad(skip.square().sum(), wanted))
    assert all(map(torch.equal, *results))


def test_rows_do_not_depend_on_the_length(threads):
    """Causal outputs are the same bits however long the rest of the clip is."""
    tensors, settings = call("residual_stack", Case(batch=1, time=301, residual=20), torch.float32)
    with wavenet_kernels.use_backend("cpu"):
        whole = wavenet_kernels.residual_stack(*tensors, **settings)
        for time in (1, 5, 96, 97, 203):
            x = tensors[0][:, :, :time]
            part = wavenet_kernels.residual_stack(x, *tensors[1:], **settings)
            for a, b in zip(part, whole, strict=True):
                assert torch.equal(a, b[:, :, :time])


@pytest.mark.parametrize("padding", ["causal", "same"])
def test_padding_is_multiplied_like_zeros(padding):
    """An infinite weight on a tap that falls outside gives NaN, as explicit padding does."""
    x = torch.ones(1, 3, 40)
    weight = torch.ones(4, 3, 3)
    weight[1, 1, 0] = float("inf")
    settings = {"dilation": 5, "padding": padding}
    with wavenet_kernels.use_backend("cpu"):
        ours = wavenet_kernels.dilated_conv1d(x, weight, **settings)
    eager = wavenet_kernels.reference.dilated_conv1d(x, weight, **settings)
    torch.testing.assert_close(ours, eager, rtol=0, atol=0, equal_nan=True)
    assert ours.isnan().any()


def test_saved_inputs_are_those_of_the_layers():
    case = Case(dilations=(1, 2, 4, 8, 3, 1), time=120)
    tensors, settings = call("residual_stack", case, torch.float32)
    weights = tensors[1:5]
    arguments = [list(case.dilations), case.padding, case.scale]
    inputs = [tensors[0]]
    with wavenet_kernels.use_backend("cpu"):
        for layer, dilation in enumerate(case.dilations):
            residual, _ = wavenet_kernels.residual_block(
                inputs[-1], *(w[layer] for w in weights), dilation=dilation
            )
            inputs.append(residual)
    for every in (1, 2, 3, 5, 6):
        for last_residual in (True, False):
            residual, _, saved = torch.ops.wavenet_kernels.residual_stack(
                *tensors, *arguments, last_residual, every, True, "cpu"
            )
            expected = [inputs[n].transpose(1, 2) for n in range(every, 6, every)]
            assert len(saved) == len(expected)
            for got, wanted in zip(saved, expected, strict=True):
                assert torch.equal(got, wanted)
            assert residual.shape[1] == (16 if last_residual else 0)
            if last_residual:
                assert torch.equal(residual, inputs[-1])


def test_an_unknown_instruction_set_is_an_error(monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", "sse9")
    with pytest.raises(ValueError, match="WAVENET_KERNELS_CPU_ISA: .*'sse9'.* not known; usable"):
        wavenet_kernels.gated_activation(torch.zeros(1, 2, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torch_and_the_kernels_share_one_openmp_runtime():
    code = (
        "import torch, wavenet_kernels\n"
        "wavenet_kernels.use_backend('cpu')\n"
        "wavenet_kernels.gated_activation(torch.zeros(8, 4, 500))\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(*{path for path in maps if 'libgomp' in path or 'libomp' in path})\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert len(out.stdout.split()) == 1, out.stdout


def test_python_threads_may_call_at_the_same_time():
    from concurrent.futures import ThreadPoolExecutor

    case = Case(residual=32, dilation_channels=32, time=2000)
    tensors, settings = call("residual_stack", case, torch.float32)
    with wavenet_kernels.use_backend("cpu"):
        alone = wavenet_kernels.residual_stack(*tensors, **settings)
        with ThreadPoolExecutor(4) as pool:
            calls = [
                pool.submit(wavenet_kernels.residual_stack, *tensors, **settings) for _ in range(20)
            ]
            for finished in calls:
                for a, b in zip(finished.result(), alone, strict=True):
                    assert torch.equal(a, b)


def test_a_forked_worker_can_call():
    """As in a DataLoader's workers: the parent has used its threads, the child uses one."""
    code = (
        "import os, torch, wavenet_kernels\n"
        "wavenet_kernels.use_backend('cpu')\n"
        "a = torch.randn(8, 8, 3000)\n"
        "z = wavenet_kernels.gated_activation(a)\n"
        "if os.fork() == 0:\n"
        "    torch.set_num_threads(1)\n"
        "    os._exit(0 if torch.equal(wavenet_kernels.gated_activation(a), z) else 3)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
