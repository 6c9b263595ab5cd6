"""The CUDA kernels against the float64 reference by the rule: on the CPU, run by tests/simt, and on
a GPU where there is one.

With WAVENET_SIMT_SANITIZE=1, in the environment of `simt_build.sanitized_environment()`, the first
run under AddressSanitizer and UBSan; tests/simt/test_sanitized.py does so with some.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack
from unittest import mock

import pytest
import simt_build
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numerics import assert_rule, check_operator, tf32_conv1d
from on_cpu import SimulatedGpu
from operator_cases import LAYOUTS, Case, call, stack_arguments, strided

import wavenet_kernels
from wavenet_kernels import reference
from wavenet_kernels.backends import cuda
from wavenet_kernels.call import Sizes
from wavenet_kernels.errors import BackendUnavailableError
from wavenet_kernels.nn import StackStream

SMALL = [
    Case(),
    Case(batch=1, time=1),
    Case(time=3, dilations=(8, 1)),
    Case(residual=32, dilation_channels=32, skip=64, time=97, dilations=(1, 2, 4)),
    Case(residual=32, dilation_channels=32, taps=3, padding="same", cond="local", dilations=(1, 4)),
    Case(residual=16, dilation_channels=64, skip=48, taps=3, padding="same", cond="local", time=41),
    Case(residual=32, dilation_channels=16, skip=0, taps=4, time=70, dilations=(3, 64)),
    Case(batch=3, time=129, dilations=(1, 1024), out_bias=False, cond="global", scale=0.5**0.5),
]
LARGE = [
    Case(residual=64, dilation_channels=64, skip=128, time=200, dilations=(1, 3, 16, 128)),
    Case(
        residual=64,
        dilation_channels=32,
        skip=16,
        taps=4,
        time=193,
        conv_bias=False,
        out_bias=False,
    ),
    Case(residual=128, dilation_channels=128, skip=64, taps=3, time=90, cond="local", scale=0.7),
    Case(residual=256, dilation_channels=16, skip=16, dilations=(3,), conv_bias=False),
    Case(residual=16, dilation_channels=256, skip=512, taps=1, time=40, dilations=(2**40, 5)),
    Case(
        batch=1,
        residual=256,
        dilation_channels=256,
        skip=256,
        taps=3,
        padding="same",
        cond="local",
        time=33,
        dilations=(2,),
    ),
]
SIXTEEN_BITS = (torch.bfloat16, torch.float16)
DTYPES = (*SIXTEEN_BITS, torch.float32)


@pytest.fixture(scope="module")
def module():
    """The kernels in the simulator."""
    if simt_build.obstacle() is not None:
        pytest.skip(f"no simulator: {simt_build.obstacle()}")
    return simt_build.load(simt_build.build(sanitize="WAVENET_SIMT_SANITIZE" in os.environ))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where tensors are; float32 may use TF32, there and in eager PyTorch, whose error counts."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    with ExitStack() as stack:
        if request.param == "cpu":
            stack.enter_context(cuda.use_machine(SimulatedGpu(request.getfixturevalue("module"))))
            conv1d = mock.patch.object(torch.nn.functional, "conv1d", tf32_conv1d)
            stack.enter_context(conv1d)
        yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("case", SMALL, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("operator", ["gated_activation", "gated_conv1d", "residual_stack"])
def test_small(operator, dtype, case, device):
    tensors, options = call(operator, case, dtype, device)
    check_operator(operator, tensors, options, "cuda")


@pytest.mark.parametrize("case", LARGE, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_large(dtype, case, device):
    tensors, options = call("residual_stack", case, dtype, device)
    check_operator("residual_stack", tensors, options, "cuda")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operator", ["gated_activation", "gated_conv1d", "residual_block"])
def test_any_strides(operator, layout, device):
    case = Case(taps=3, time=37, cond="local")
    tensors, options = call(operator, case, torch.bfloat16, device)
    tensors[0], tensors[-1] = strided(tensors[0], layout), strided(tensors[-1], layout)
    check_operator(operator, tensors, options, "cuda")


@pytest.mark.parametrize("residual", [16, 32])  # three launches backward, and one
def test_a_nan_is_where_the_reference_has_it(residual, device):
    case = Case(
        batch=1, residual=residual, dilation_channels=residual, time=64, dilations=(1, 30, 70)
    )
    tensors, options = call("residual_stack", case, torch.bfloat16, device)
    tensors[0][0, 3, 40] = float("nan")
    check_operator("residual_stack", tensors, options, "cuda")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gates_saturate(dtype, device):
    tensors, options = call("residual_stack", Case(), dtype, device)
    tensors[1] = 100 * tensors[1]
    check_operator("residual_stack", tensors, options, "cuda")


def test_weights_in_any_memory(device):
    tensors, options = call("residual_stack", Case(taps=3), torch.bfloat16, device)
    x, *weights, cond = tensors
    weights = [w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights]
    assert not any(w.is_contiguous() for w in weights)
    check_operator("residual_stack", [x, *weights, cond], options, "cuda")


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    dtype=st.sampled_from(DTYPES),
    residual=st.sampled_from((16, 32)),
    dilation_channels=st.sampled_from((16, 32, 64)),
    skip=st.sampled_from((0, 16, 32, 64, 80)),
    taps=st.integers(1, 4),
    time=st.integers(20, 150),
    dilations=st.lists(st.integers(1, 80), min_size=1, max_size=5),
    same=st.booleans(),
    conv_bias=st.booleans(),
    out_bias=st.booleans(),
    cond=st.sampled_from(("none", "global", "local")),
)
def test_random_shapes(device, dtype, taps, same, dilations, **sizes):
    padding = "same" if same and taps % 2 else "causal"
    case = Case(**sizes, taps=taps, padding=padding, dilations=tuple(dilations))
    tensors, options = call("residual_stack", case, dtype, device)
    check_operator("residual_stack", tensors, options, "cuda")


@pytest.mark.parametrize(("last_residual", "skip"), [(True, 0), (True, 32), (False, 32)])
def test_stack_options(last_residual, skip, device):
    case = Case(dilations=(1, 2, 4, 8, 1), skip=skip)
    tensors, options = call("residual_stack", case, torch.float32, device)
    options["last_residual"] = last_residual
    check_operator("residual_stack", tensors, options, "cuda")

    found = []
    leaves = [t.detach().requires_grad_() for t in tensors[:5]]
    with wavenet_kernels.use_backend("cuda"):
        for every in (1, 2, 7):
            outputs = wavenet_kernels.residual_stack(*leaves, **options, checkpoint_every=every)
            loss = sum(o.sum() for o in outputs)
            found.append(torch.autograd.grad(loss, leaves))
    assert all(all(map(torch.equal, found[0], again)) for again in found[1:])


@pytest.mark.parametrize("cond", ["none", "global", "local"])
@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_chunks_of_any_sizes_are_the_whole(dtype, taps, cond, device):
    case = Case(residual=32, taps=taps, time=90, dilations=(1, 40, 2), cond=cond, scale=0.8)
    tensors = stack_arguments(case, dtype, device)
    x, *weights, c = tensors
    options = {"dilations": case.dilations, "residual_scale": case.scale}
    eager = torch.cat(reference.residual_stack(*tensors, **options), 1).double()
    exact = (None if t is None else t.double() for t in tensors)
    truth = torch.cat(reference.residual_stack(*exact, **options), 1)
    sizes = (1, 1, 7, 40, 3, 38)
    with wavenet_kernels.use_backend("cuda"), torch.no_grad():
        stream = StackStream(*weights, batch=2, **options)
        state = x.new_zeros(2, (taps - 1) * sum(case.dilations), 32)
        for _ in range(2):  # the second time after a reset
            pieces, by_state = [], []
            for start, size in zip(itertools.accumulate((0, *sizes[:-1])), sizes, strict=True):
                chunk = x[:, :, start : start + size]
                part = c if cond != "local" else c[:, :, start : start + size]
                pieces.append(torch.cat(stream(chunk, part), 1).clone())
                *outputs, state = wavenet_kernels.residual_stack_stream(
                    chunk, state, *weights, part, **options
                )
                by_state.append(torch.cat(outputs, 1))
            assert_rule(torch.cat(pieces, 2), truth, eager - truth, "StackStream on cuda")
            assert torch.equal(torch.cat(by_state, 2), torch.cat(pieces, 2))
            stream.reset()
            state.zero_()


def test_a_stream_of_weights_in_any_memory(device):
    x, *weights, _ = stack_arguments(Case(), torch.bfloat16, device)
    odd = [w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights]
    with wavenet_kernels.use_backend("cuda"), torch.no_grad():
        streams = [StackStream(*w, dilations=(1, 2, 4), batch=2) for w in (weights, odd)]
        assert all(map(torch.equal, *(stream(x) for stream in streams)))


@pytest.mark.parametrize("case", [SMALL[3], SMALL[4], SMALL[5]], ids=str)
def test_the_order_of_threads_changes_nothing(case, module, monkeypatch):
    """As a missing barrier would; the scheduler's seed decides it."""
    tensors, options = call("residual_stack", case, torch.bfloat16)
    results = []
    for seed in range(3):
        monkeypatch.setenv("WAVENET_SIMT_SEED", str(seed))
        leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
        # A new machine makes its plans anew.
        with cuda.use_machine(SimulatedGpu(module)), wavenet_kernels.use_backend("cuda"):
            outputs = wavenet_kernels.residual_stack(*leaves, **options)
            loss = sum((o * o.detach().sign()).sum() for o in outputs)
            grads = torch.autograd.grad(loss, [leaf for leaf in leaves if leaf is not None])
        results.append([*outputs, *grads])
    assert all(all(map(torch.equal, results[0], again)) for again in results[1:])


def test_what_is_planned(module, monkeypatch):
    """Narrow layers share launches and are differentiated in one; tiles fit any chip's memory."""
    small = Sizes(B=8, T=16_000, R=32, D=32, S=64, K=2)
    classifier = small._replace(R=64, D=64, S=128)
    vocoder = small._replace(R=128, D=128, S=128, K=3)
    doubling = [2**n for n in range(9)]

    def shape(sizes):
        return module.StackShape(
            dtype="bfloat16", **sizes._asdict(), dilations=doubling, same_padding=False
        )

    def layers(sizes, keep):
        plan = module.StackForward(
            device=0, shape=shape(sizes), residual=True, skip=True, keep=keep
        )
        return plan.groups

    def fused(sizes):
        plan = module.StackBackward(
            device=0, shape=shape(sizes), residual=True, skip=True, fuse=True
        )
        return plan.fused_layers

    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "132")
    assert sum(layers(small, False)) == 9 and max(layers(small, False)) >= 3
    assert max(layers(vocoder, False)) < max(layers(small, False))
    assert fused(small) == fused(classifier) == 9 and fused(vocoder) == 0
    monkeypatch.setenv("WAVENET_SIMT_SHARED_KB", "99")  # as on sm_86, sm_89 and sm_120
    for sizes in (small, classifier, vocoder):
        assert sum(layers(sizes, True)) == 9
        fused(sizes)
    with pytest.raises(ValueError, match="does not fit into the 99 KiB of shared memory"):
        layers(Sizes(B=1, T=100, R=256, D=256, S=512, K=4), True)


def test_refusals_name_the_nearest(device):
    tensors, options = call(
        "residual_stack", Case(residual=20, skip=600, taps=5), torch.bfloat16, device
    )
    with wavenet_kernels.use_backend("cuda"):
        with pytest.raises(BackendUnavailableError, match="are for R=32, D=16, S=512, K=4, and"):
            wavenet_kernels.residual_stack(*tensors, **options)
        torch.set_float32_matmul_precision("highest")
        tensors, options = call("residual_stack", Case(), torch.float32, device)
        with pytest.raises(BackendUnavailableError, match=r"float32 matrices in TF32, which torch"):
            wavenet_kernels.residual_stack(*tensors, **options)
