"""What the CPU kernels promise: right on every instruction set, whatever threads and halos do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numerics import check_operator
from operator_cases import CASES, DIFFERENTIABLE, Case, call
from operator_cases import outputs_and_gradients as _outputs_and_gradients

import wavenet_kernels
import wavenet_kernels._cpu as _cpu
from wavenet_kernels import reference
from wavenet_kernels.call import gates_are_worth_keeping

ISAS, USABLE = _cpu.build_info()["isas"], _cpu.build_info()["usable_isas"]
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# Enough rows for backward to go through each layer in several chunks, and for several threads.
LONG = {
    "K2 causal": dict(taps=2, dilations=(1, 700, 4000), cond="local"),
    "K3 causal": dict(taps=3, dilations=(2, 900, 3500), cond="global"),
    "K3 same": dict(taps=3, dilations=(2, 900, 3500), padding="same"),
    "K4 causal": dict(taps=4, dilations=(1, 50, 1700)),
}


def _long(name: str) -> Case:
    return Case(batch=2, residual=8, dilation_channels=8, skip=4, time=6000, **LONG[name])


@pytest.fixture
def isa(request, monkeypatch):
    if request.param not in USABLE:
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", request.param)
    return request.param


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_every_instruction_set_obeys_the_rule(isa, operator, case):
    tensors, settings = call(operator, case, torch.float32)
    check_operator(operator, tensors, settings, "cpu")


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_every_dtype_on_every_instruction_set(isa, operator, dtype):
    for case in (CASES[3], CASES[5], CASES[8]):
        tensors, settings = call(operator, case, dtype)
        check_operator(operator, tensors, settings, "cpu")


@pytest.mark.parametrize("taps", [2, 3])
@pytest.mark.parametrize("operator", DIFFERENTIABLE[1:])
def test_plain_convolutions_obey_the_rule(monkeypatch, operator, taps):
    monkeypatch.setenv("WAVENET_KERNELS_CPU_FAST", "0")
    tensors, settings = call(operator, Case(taps=taps, time=150, cond="global"), torch.float32)
    check_operator(operator, tensors, settings, "cpu")


def test_fast_convolutions_are_on_or_off(monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CPU_FAST", "yes")
    with pytest.raises(ValueError, match="WAVENET_KERNELS_CPU_FAST is 'yes'; accepted are 0 and 1"):
        wavenet_kernels.gated_activation(torch.zeros(1, 2, 1))


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("name", LONG)
def test_gradients_in_several_chunks_obey_the_rule(isa, name):
    tensors, settings = call("residual_stack", _long(name), torch.float32)
    check_operator("residual_stack", tensors, settings, "cpu")


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("channels", [256, 300])
def test_long_sums_are_as_exact_as_eager(isa, channels):
    """768 and more products a sum, where the order of summation decides about the error."""
    case = Case(batch=1, residual=channels, dilation_channels=48, skip=16, taps=3, time=150)
    for operator in ("dilated_conv1d", "gated_conv1d"):
        tensors, settings = call(operator, case, torch.float32)
        check_operator(operator, tensors, settings, "cpu")


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_a_large_bias_costs_no_precision(isa):
    case = Case(batch=1, residual=64, dilation_channels=32, taps=2, time=300)
    for operator in ("dilated_conv1d", "gated_conv1d"):
        tensors, settings = call(operator, case, torch.float32)
        tensors[2] = 5 * tensors[2]
        check_operator(operator, tensors, settings, "cpu")


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 10.0, 1e3])
def test_gate_is_exact_at_every_magnitude(isa, scale):
    a = scale * torch.randn(1, 46, 1000, generator=torch.Generator().manual_seed(0))
    check_operator("gated_activation", [a, None], {}, "cpu")


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_gate_treats_special_values_as_torch_does(isa):
    values = [0.0, -0.0, 1e-38, -1e-40, 1e-45, 100.0, -100.0, 88.0, -88.0, 89.5, -89.5]
    special = torch.tensor([*values, float("inf"), float("-inf"), float("nan")])
    a = torch.cartesian_prod(special, special).T[None]
    with wavenet_kernels.use_backend("cpu"):
        ours, ours_grad = _outputs_and_gradients(wavenet_kernels.gated_activation, [a], {})
    eager, eager_grad = _outputs_and_gradients(reference.gated_activation, [a], {})
    torch.testing.assert_close(ours, eager, rtol=0, atol=1e-38, equal_nan=True)
    torch.testing.assert_close(ours_grad, eager_grad, rtol=1e-6, atol=1e-38, equal_nan=True)
    assert torch.equal(ours.signbit() | ours.isnan(), eager.signbit() | eager.isnan())


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("operator", ["dilated_conv1d", "gated_conv1d", "residual_stack"])
@pytest.mark.parametrize("taps", [2, 3])
@pytest.mark.parametrize("padding", ["causal", "same"])
@pytest.mark.parametrize("where", ["x", "gradient"])
def test_infinity_and_nan_come_out_where_the_reference_has_them(
    isa, operator, taps, padding, where
):
    """Differences of inputs, of which fast convolutions are made, turn infinity into NaN."""
    if padding == "same" and taps == 2:
        return
    for value in (float("inf"), float("-inf"), float("nan")):
        for time, dilation in ((0, 1), (100, 1), (101, 7), (299, 7), (40, 160), (250, 299)):
            case = Case(
                batch=2, residual=5, dilation_channels=3, skip=2, taps=taps, time=300,
                dilations=(dilation, 2 * dilation), padding=padding, cond="global",
            )  # fmt: skip
            tensors, settings = call(operator, case, torch.float32)
            if where == "x":
                tensors[0][1, 2, time] = value

            def poison(upstream, value=value, time=time):
                if where == "gradient":
                    upstream[0][1, 2, time] = value

            _assert_like_reference(operator, tensors, settings, poison)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("operator", ["dilated_conv1d", "gated_conv1d", "residual_stack"])
@pytest.mark.parametrize("taps", [1, 2, 3, 4])
@pytest.mark.parametrize("padding", ["causal", "same"])
def test_an_infinite_weight_shows_where_the_reference_shows_it(isa, operator, taps, padding):
    """But for the gradients of those rows of x that a tap does not reach: zero times infinity."""
    if padding == "same" and taps % 2 == 0:
        return
    dilation, time = 7, 150
    case = Case(
        batch=2, residual=5, dilation_channels=3, skip=2, taps=taps, time=time,
        dilations=(dilation,), padding=padding,
    )  # fmt: skip
    left, right = reference.padding_of(taps, dilation, padding)
    for tap in range(taps):
        tensors, settings = call(operator, case, torch.float32)
        tensors[1].view(-1, 5, taps)[1, 2, tap] = float("inf")
        _assert_like_reference(operator, tensors, settings, rows_of_x=slice(right, time - left))


def _assert_like_reference(operator, tensors, settings, poison=None, rows_of_x=slice(None)):
    """Close where finite; NaN and each infinity where the float64 reference has them."""
    with wavenet_kernels.use_backend("cpu"):
        public = getattr(wavenet_kernels, operator)
        ours = _outputs_and_gradients(public, tensors, settings, poison=poison)
    doubles = [None if t is None else t.double() for t in tensors]
    truths = _outputs_and_gradients(getattr(reference, operator), doubles, settings, poison=poison)
    of_x = 2 if operator.startswith("residual") else 1
    for i, (got, truth) in enumerate(zip(ours, truths, strict=True)):
        if i == of_x:
            got, truth = got[:, :, rows_of_x], truth[:, :, rows_of_x]
        torch.testing.assert_close(got, truth.float(), equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_do_not_depend_on_threads(isa, case, threads):
    tensors, settings = call("residual_stack", case, torch.float32)
    _assert_same_on_any_number_of_threads(threads, tensors, settings)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LONG)
def test_results_in_several_chunks_do_not_depend_on_threads(isa, name, dtype, threads):
    tensors, settings = call("residual_stack", _long(name), dtype)
    _assert_same_on_any_number_of_threads(threads, tensors, settings)


def _assert_same_on_any_number_of_threads(threads, tensors, settings):
    results = []
    with wavenet_kernels.use_backend("cpu"):
        for count in (1, 2, 3, 7):
            threads(count)
            results.append(
                _outputs_and_gradients(wavenet_kernels.residual_stack, tensors, settings)
            )
    for others in results[1:]:
        assert all(map(torch.equal, others, results[0]))


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


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LONG)
def test_kept_gates_change_no_bit(isa, name, dtype):
    tensors, settings = call("residual_stack", _long(name), dtype)
    with wavenet_kernels.use_backend("cpu"):
        inputs, gates = (
            _outputs_and_gradients(
                wavenet_kernels.residual_stack, tensors, {**settings, "keep": keep}
            )
            for keep in ("inputs", "gates")
        )
    assert all(map(torch.equal, inputs, gates))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_wide_layers_keep_gates_in_the_type_of_activations(dtype):
    for residual, kept in ((64, 0), (128, 1)):
        case = Case(residual=residual, dilation_channels=16, skip=8, dilations=(1,), time=20)
        tensors, _ = call("residual_stack", case, dtype)
        with wavenet_kernels.use_backend("cpu"):
            *_, gates = torch.ops.wavenet_kernels.residual_stack_saving(
                *tensors, None, None, [1], "causal", 1.0, True, 1, "auto", 0.0, "cpu"
            )
        assert gates.dtype == dtype
        assert gates.shape == (kept, tensors[0].shape[0], 20, 32)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("operator", [name for name in DIFFERENTIABLE if name != "dilated_conv1d"])
def test_conditioning_is_read_as_it_lies(isa, dtype, operator):
    """In any memory order it gives the same bits, gradients too; none is copied."""
    case = Case(
        batch=2,
        residual=20,
        dilation_channels=23,
        taps=2,
        time=1500,
        dilations=(1, 7),
        cond="local",
    )
    tensors, settings = call(operator, case, dtype)
    index = len(tensors) - 1
    B, C, T = tensors[index].shape
    results, peaks = [], []
    for strides in ((C * T, T, 1), (C * T, 1, C), (3 * C * T, 3 * T, 3), (1, B * T, B)):
        size = 1 + sum((n - 1) * s for n, s in zip((B, C, T), strides, strict=True))
        cond = torch.empty(size, dtype=dtype).as_strided((B, C, T), strides).copy_(tensors[index])
        with wavenet_kernels.use_backend("cpu"):
            _cpu.workspace_peak(True)
            arguments = [*tensors[:index], cond]
            function = getattr(wavenet_kernels, operator)
            results.append(_outputs_and_gradients(function, arguments, settings))
            peaks.append(_cpu.workspace_peak(True))
    for result in results[1:]:
        assert all(map(torch.equal, results[0], result))
    assert max(peaks) - min(peaks) < cond.nbytes / 2


def test_layers_that_are_not_quite_wide_keep_few_gates():
    """256 MiB of them are not worth a twentieth of a step."""
    few = {"dilation": 64, "layers": 10, "positions": 16_000, "bytes_of_float": 4}
    many = {**few, "positions": 60_000}
    for residual, expected in ((63, (False, False)), (64, (True, False)), (128, (True, True))):
        kept = (gates_are_worth_keeping(residual, taps=2, **sizes) for sizes in (few, many))
        assert tuple(kept) == expected


@pytest.mark.parametrize("keep", ["inputs", "gates"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_inference_gives_the_bits_of_training(dtype, keep):
    for case in (*CASES, Case(residual=128, dilation_channels=128, taps=3, time=200)):
        tensors, settings = call("residual_stack", case, dtype)
        leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
        with wavenet_kernels.use_backend("cpu"):
            trained = wavenet_kernels.residual_stack(*leaves, **settings, keep=keep)
            with torch.no_grad():
                inferred = wavenet_kernels.residual_stack(*leaves, **settings)
        assert all(map(torch.equal, inferred, trained))


LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="this system has no large pages to ask for")
def test_what_is_kept_for_backward_and_what_is_returned_are_wanted_in_large_pages():
    case = Case(residual=64, dilation_channels=64, skip=64, time=20_000, dilations=(1, 2))
    tensors, settings = call("residual_stack", case, torch.float32)
    kept = []
    packing = torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.append(t), t)[1], lambda t: t
    )
    with packing, wavenet_kernels.use_backend("cpu"):
        leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
        outputs = wavenet_kernels.residual_stack(*leaves, **settings)
    inputs = {t.data_ptr() for t in leaves if t is not None}
    made = [t for t in (*kept, *outputs) if t.nbytes >= 2**22 and t.data_ptr() not in inputs]
    assert len(made) >= 3  # the second layer's input, residual and skip
    assert all("hg" in _flags_of_pages(t.data_ptr() + t.nbytes // 2) for t in made)


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="this system has no large pages to ask for")
@pytest.mark.parametrize("operator", ["dilated_conv1d", "gated_conv1d", "gated_activation"])
def test_outputs_and_gradients_of_single_operators_are_wanted_in_large_pages(operator):
    case = Case(residual=64, dilation_channels=64, time=20_000, cond="local")
    tensors, settings = call(operator, case, torch.float32)
    with wavenet_kernels.use_backend("cpu"):
        leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
        output = getattr(wavenet_kernels, operator)(*leaves, **settings)
        gradients = torch.autograd.grad(output.sum(), [t for t in leaves if t is not None])
    made = [t for t in (output, *gradients) if t.nbytes >= 2**22]
    assert len(made) >= 2
    assert all("hg" in _flags_of_pages(t.data_ptr() + t.nbytes // 2) for t in made)


def _flags_of_pages(address: int) -> list[str]:
    """Of the mapping that an address of this process is in (proc_pid_smaps(5), VmFlags)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            begin, end = (int(part, 16) for part in first.split("-"))
            inside = begin <= address < end
        elif inside and first == "VmFlags:":
            return rest
    raise AssertionError(f"no mapping holds {address:#x}")


@pytest.mark.parametrize("keep", ["inputs", "gates"])
@pytest.mark.parametrize("operator", ["residual_stack", "gated_conv1d", "dilated_conv1d"])
def test_frozen_tensors_change_no_gradient_and_take_no_memory(operator, keep):
    case = Case(residual=64, dilation_channels=64, skip=64, taps=3, time=1000, cond="global")
    tensors, settings = call(operator, case, torch.float32)
    if operator == "residual_stack":
        settings = {**settings, "keep": keep}
    peaks = {}
    with wavenet_kernels.use_backend("cpu"):
        outputs = _outputs_and_gradients(getattr(wavenet_kernels, operator), tensors, settings)
        expected = outputs[-len(tensors) :]
        for wanted in (range(len(tensors)), *((i,) for i in range(len(tensors)))):
            leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
            result = getattr(wavenet_kernels, operator)(*leaves, **settings)
            results = [result] if isinstance(result, torch.Tensor) else list(result)
            generator = torch.Generator().manual_seed(0)
            upstream = [torch.randn(o.shape, generator=generator) for o in results]
            _cpu.workspace_peak(True)
            got = torch.autograd.grad(results, [leaves[i] for i in wanted], upstream)
            peaks[tuple(wanted)] = _cpu.workspace_peak(True)
            assert all(torch.equal(g, expected[i]) for g, i in zip(got, wanted, strict=True))
    # Sums of weight gradients are several slices, each as large as the weight or larger.
    everything = peaks[tuple(range(len(tensors)))]
    assert peaks[0,] <= everything - 2 * tensors[1][0].nbytes


@pytest.mark.parametrize("taps", [1, 2, 3, 4])
def test_rows_do_not_depend_on_the_length(taps):
    """Causal outputs are the same bits however long the rest of the clip is."""
    case = Case(batch=1, time=301, residual=20, taps=taps)
    tensors, settings = call("residual_stack", case, torch.float32)
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
    eager = reference.dilated_conv1d(x, weight, **settings)
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
            residual, _, saved, gates = torch.ops.wavenet_kernels.residual_stack_saving(
                *tensors, None, None, *arguments, last_residual, every, "inputs", 0.0, "cpu"
            )
            assert gates.shape == (0, *tensors[0].shape[::2], 2 * tensors[3].shape[2])
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


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa not in USABLE])
def test_an_instruction_set_that_is_not_here_is_an_error(isa, monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", isa)
    missing = f"'{isa}' is not one this processor has, or its system permits; usable here: "
    with pytest.raises(ValueError, match=missing + ", ".join(USABLE)):
        wavenet_kernels.gated_activation(torch.zeros(1, 2, 1))


@pytest.mark.slow
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
    arguments = wavenet_kernels.residual_stack, *call("residual_stack", case, torch.float32)
    with wavenet_kernels.use_backend("cpu"):
        alone = _outputs_and_gradients(*arguments)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(_outputs_and_gradients, *arguments) for _ in range(20)]
            for finished in calls:
                assert all(map(torch.equal, finished.result(), alone))


@pytest.mark.slow
@pytest.mark.parametrize("threads_of_child", [None, 1, 4])
def test_a_forked_worker_can_call(threads_of_child):
    """As in a DataLoader's workers: the parent has used its threads, which the child has not got.

    Rows that the kernels take as they are, because torch's own copies do use threads, and a child
    that waits for them is killed by its alarm.
    """
    code = f"""
import os, signal, sys, torch, wavenet_kernels
sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
from operator_cases import Case, call, strided
wavenet_kernels.use_backend("cpu")
torch.set_num_threads(2)
tensors, settings = call("residual_stack", Case(time=2000), torch.float32)
tensors[0] = strided(tensors[0], "rows")
leaves = [None if t is None else t.requires_grad_() for t in tensors]
def run():
    outputs = wavenet_kernels.residual_stack(*leaves, **settings)
    upstream = [strided(o.detach(), "rows") for o in outputs]
    return [*outputs, *torch.autograd.grad(outputs, [t for t in leaves if t is not None], upstream)]
expected = run()
child = os.fork()
if child == 0:
    signal.alarm(30)
    if {threads_of_child}:
        torch.set_num_threads({threads_of_child})
    got = run()
    torch.set_num_threads(1)
    os._exit(0 if all(map(torch.equal, got, expected)) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # torch's autograd must not be forked
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def _available_memory() -> int:
    """Bytes, as far as the system says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


@pytest.mark.slow
@pytest.mark.skipif(_available_memory() < 12 << 30, reason="needs 12 GiB of free memory")
def test_more_than_2_to_the_31_elements(monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    period, channels = 1009, 1024
    pattern = torch.randn(period, channels, generator=torch.Generator().manual_seed(0)).bfloat16()
    rows = torch.empty(2081, period, channels, dtype=torch.bfloat16).copy_(pattern).flatten(0, 1)
    assert rows.numel() > 2**31
    weight = torch.randn(4, channels, 2, generator=torch.Generator().manual_seed(1)).bfloat16() / 32

    def run(rows):
        with wavenet_kernels.use_backend("cpu"):
            return wavenet_kernels.dilated_conv1d(rows.T[None], weight, dilation=3)[0].T

    whole = run(rows)
    # From a multiple of 2 d on, so that rows are paired alike; the first 3 see padding instead.
    for begin in (0, (2**31 // channels - 60) // 6 * 6, (len(rows) - 120) // 6 * 6):
        part = run(rows[begin : begin + 120])
        first = 3 if begin else 0
        assert torch.equal(whole[begin : begin + 120][first:], part[first:])


def test_an_infinite_1x1_leaves_rows_that_do_not_exist_alone():
    """T = 3 and d = 2 make a pair of rows whose second is beyond the clip."""
    tensors, settings = call("residual_block", Case(batch=1, time=3, dilations=(2,)), torch.float32)
    tensors[3][:, 0] = float("inf")
    results = []
    for backend in ("reference", "cpu"):
        leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
        with wavenet_kernels.use_backend(backend):
            residual, _ = wavenet_kernels.residual_block(*leaves, **settings)
        wanted = [leaves[1], leaves[2]]
        results.append(torch.autograd.grad(residual, wanted, torch.ones_like(residual)))
    for expected, ours in zip(*results, strict=True):
        assert torch.equal(expected.isnan(), ours.isnan())
