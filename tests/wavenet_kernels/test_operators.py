"""Every operator on every backend that has it, against the float64 reference by the rule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import assert_rule, check_operator
from operator_cases import CASES, DIFFERENTIABLE, LAYOUTS, Case, call, strided, tensor

import wavenet_kernels
from wavenet_kernels import reference

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
BACKENDS = ("reference", "cpu", "triton", "cuda")
# Triton, where it works: in the interpreter on CPU tensors, or on a GPU.
TRITON = (
    pytest.param("triton", "cuda", marks=pytest.mark.gpu)
    if torch.cuda.is_available()
    else ("triton", "cpu")
)
DTYPES = {
    "reference": (torch.float32, torch.bfloat16, torch.float16),
    "cpu": (torch.float32, torch.bfloat16, torch.float16, torch.float64),
    "triton": (torch.float32, torch.bfloat16, torch.float16),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
}


def _combinations() -> list:
    """(operator, backend, dtype, device) of everything that exists, GPU ones marked so."""
    found = []
    for backend in BACKENDS:
        for operator in DIFFERENTIABLE:
            if backend == "cuda" and operator != "gated_activation":
                continue  # of few sizes: test_cuda_kernels.py
            for dtype in DTYPES[backend]:
                on_cpu = backend in ("reference", "cpu") or (
                    backend == "triton" and not torch.cuda.is_available()
                )
                if on_cpu:
                    found.append((operator, backend, dtype, "cpu"))
                if backend != "cpu":
                    found.append(
                        pytest.param(operator, backend, dtype, "cuda", marks=pytest.mark.gpu)
                    )
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("operator", "backend", "dtype", "device"), _combinations())
def test_matches_the_float64_reference(operator, backend, dtype, device, case):
    if (backend, device) == ("triton", "cpu"):
        # The kernels are the same, and a block is a stack of one.
        enough = {torch.bfloat16: len(CASES), torch.float32: 8, torch.float16: 4}[dtype]
        if operator == "residual_block":
            enough = 6 if dtype == torch.bfloat16 else 0
        if case not in CASES[:enough]:
            pytest.skip("the interpreter is slow: these in bfloat16, of a stack, alone")
    tensors, settings = call(operator, case, dtype, device)
    check_operator(operator, tensors, settings, backend)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("operator", "backend", "dtype", "device"),
    [
        c
        for c in _combinations()
        if not isinstance(c, tuple) or c[2] == torch.float32 or c[1:3] == ("cpu", torch.bfloat16)
    ],
)
def test_any_strides(operator, backend, dtype, device, layout):
    case = Case(residual=6, dilation_channels=6, skip=5, taps=3, time=37, cond="local")
    tensors, settings = call(operator, case, dtype, device)
    tensors[0] = strided(tensors[0], layout)
    if operator != "dilated_conv1d":
        tensors[-1] = strided(tensors[-1], layout)
    check_operator(operator, tensors, settings, backend)


# A few clips each, because the yardstick of the rule, eager's own error on the same tensor, means
# little on a tensor of one or two elements.
RANDOM_SIZES = {
    "batch": st.integers(4, 6),
    "residual": st.integers(1, 40),
    "dilation_channels": st.integers(1, 40),
    "skip": st.integers(0, 40),
    "taps": st.integers(1, 8),
    "time": st.integers(1, 150),
    "dilations": st.lists(st.integers(1, 80), min_size=1, max_size=3),
    "same": st.booleans(),
    "conv_bias": st.booleans(),
    "out_bias": st.booleans(),
    "cond": st.sampled_from(("none", "global", "local")),
    "scale": st.sampled_from((1.0, 0.5**0.5)),
}


# The same examples every time.
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    operator=st.sampled_from(DIFFERENTIABLE),
    how=st.sampled_from([("reference", torch.float32), *(("cpu", d) for d in DTYPES["cpu"])]),
    **RANDOM_SIZES,
)
def test_random_shapes(operator, how, taps, same, dilations, **sizes):
    backend, dtype = how
    padding = "same" if same and taps % 2 else "causal"
    case = Case(**sizes, taps=taps, padding=padding, dilations=tuple(dilations))
    tensors, settings = call(operator, case, dtype)
    check_operator(operator, tensors, settings, backend)


@pytest.mark.parametrize("empty", ["B", "T"])
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_empty_tensors(operator, empty):
    case = Case(batch=0 if empty == "B" else 2, time=0 if empty == "T" else 5, cond="local")
    tensors, settings = call(operator, case, torch.float32)
    leaves = [t.requires_grad_() for t in tensors]
    outputs = getattr(wavenet_kernels, operator)(*leaves, **settings)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    assert all(o.shape[0] == case.batch and o.shape[2] == case.time for o in outputs)
    sum(o.sum() for o in outputs).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize("skip_channels", [0, 32])
@pytest.mark.parametrize("last_residual", [True, False])
@pytest.mark.parametrize("checkpoint_every", [1, 2, 3, 7, "gates"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("backend", "device"), [("reference", "cpu"), ("cpu", "cpu"), TRITON])
def test_stack_options_change_no_result(
    backend, device, layers, checkpoint_every, last_residual, skip_channels
):
    if not (last_residual or skip_channels):
        return  # no output, no gradient: see the next test
    enough = ((1, 1), (4, 1), (4, 3))
    if (backend, device) == ("triton", "cpu") and (layers, checkpoint_every) not in enough:
        pytest.skip("in the interpreter some are enough")
    case = Case(dilations=(1, 2, 4, 8, 1)[:layers], skip=skip_channels)
    dtype = torch.float64 if backend == "reference" else torch.float32
    tensors, settings = call("residual_stack", case, dtype, device)
    plain = [t.detach().requires_grad_() if t is not None else None for t in tensors]
    ours = [t.detach().requires_grad_() if t is not None else None for t in tensors]
    residual, skip = reference.residual_stack(*plain, **settings, last_residual=last_residual)
    options = {"last_residual": last_residual, "checkpoint_every": checkpoint_every}
    if checkpoint_every == "gates":
        if backend == "triton":
            pytest.skip("it keeps none")
        options = {"last_residual": last_residual, "keep": "gates"}
    with wavenet_kernels.use_backend(backend):
        got_residual, got_skip = wavenet_kernels.residual_stack(*ours, **settings, **options)
    torch.testing.assert_close(got_residual, residual)
    torch.testing.assert_close(got_skip, skip)
    (residual.sum() + skip.square().sum()).backward()
    (got_residual.sum() + got_skip.square().sum()).backward()
    for a, b in zip(ours, plain, strict=True):
        if a is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("backend", "device"), [("reference", "cpu"), ("cpu", "cpu"), TRITON])
def test_a_stack_without_any_output(backend, device):
    tensors, settings = call("residual_stack", Case(skip=0), torch.float32, device)
    with wavenet_kernels.use_backend(backend):
        residual, skip = wavenet_kernels.residual_stack(*tensors, **settings, last_residual=False)
    assert residual.shape == skip.shape == (2, 0, 50)


@pytest.mark.parametrize("padding", ["causal", "same"])
@pytest.mark.parametrize("operator", DIFFERENTIABLE[1:])
def test_a_dilation_beyond_the_signal_needs_no_memory(operator, padding):
    far = Case(time=9, taps=3, dilations=(2**40,), padding=padding)
    near = Case(time=9, taps=3, dilations=(9,), padding=padding)
    for backend, device in PLACES:
        with wavenet_kernels.use_backend(backend):
            results = []
            for case in (far, near):
                tensors, settings = call(operator, case, torch.float32, device)
                outputs = getattr(wavenet_kernels, operator)(*tensors, **settings)
                results.append([outputs] if isinstance(outputs, torch.Tensor) else outputs)
        assert all(map(torch.equal, *results))


# (backend, device), those that need no GPU.
PLACES = [("reference", "cpu"), ("cpu", "cpu")]
if not torch.cuda.is_available():
    PLACES.append(("triton", "cpu"))


@pytest.mark.parametrize(("backend", "device"), PLACES)
def test_last_residual_is_not_computed(backend, device):
    tensors, settings = call("residual_stack", Case(out_bias=False), torch.float32)
    tensors[3][-1, :16] = float("nan")  # the last layer's residual 1x1: no part of any result
    with wavenet_kernels.use_backend(backend), torch.no_grad():
        residual, skip = wavenet_kernels.residual_stack(*tensors, **settings, last_residual=False)
    assert residual.shape == (2, 0, 50)
    assert skip.isfinite().all()


@pytest.mark.parametrize(("backend", "device"), PLACES)
def test_stack_is_the_chain_of_blocks(backend, device):
    case = Case(cond="local", scale=0.7, time=61)
    tensors, settings = call("residual_stack", case, torch.float32)
    x, conv_weight, conv_bias, out_weight, out_bias, cond = tensors
    with wavenet_kernels.use_backend(backend), torch.no_grad():
        residual, skip = wavenet_kernels.residual_stack(*tensors, **settings)
        skips = 0
        for layer, dilation in enumerate(case.dilations):
            x, s = wavenet_kernels.residual_block(
                x,
                conv_weight[layer],
                conv_bias[layer],
                out_weight[layer],
                out_bias[layer],
                cond.chunk(3, dim=1)[layer],
                dilation=dilation,
                residual_scale=case.scale,
            )
            skips = skips + s
    torch.testing.assert_close(residual, x)
    torch.testing.assert_close(skip, skips)


@pytest.mark.parametrize(("backend", "device"), PLACES)
def test_block_is_its_parts(backend, device):
    case = Case(cond="global", taps=3)
    (x, conv_weight, conv_bias, out_weight, out_bias, cond), settings = call(
        "residual_block", case, torch.float32
    )
    del settings["residual_scale"]
    with wavenet_kernels.use_backend(backend), torch.no_grad():
        residual, skip = wavenet_kernels.residual_block(
            x, conv_weight, conv_bias, out_weight, out_bias, cond, **settings
        )
        z = wavenet_kernels.gated_conv1d(x, conv_weight, conv_bias, cond, **settings)
        a = wavenet_kernels.dilated_conv1d(x, conv_weight, conv_bias, **settings)
        torch.testing.assert_close(wavenet_kernels.gated_activation(a, cond), z)
        out = wavenet_kernels.dilated_conv1d(z, out_weight.unsqueeze(-1), out_bias)
    torch.testing.assert_close(residual, x + out[:, :16])
    torch.testing.assert_close(skip, out[:, 16:])


@pytest.mark.parametrize("cond", ["none", "global", "local"])
@pytest.mark.parametrize("taps", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("backend", "dtype", "device"),
    [
        ("reference", torch.float64, "cpu"),
        ("cpu", torch.float64, "cpu"),
        ("cpu", torch.float32, "cpu"),
        pytest.param("triton", torch.float32, "cuda", marks=pytest.mark.gpu)
        if torch.cuda.is_available()
        else ("triton", torch.float32, "cpu"),
    ],
)
def test_streaming_in_random_chunks_is_the_whole(backend, dtype, device, taps, cond):
    enough = ((2, "local"), (3, "global"))
    if (backend, device) == ("triton", "cpu") and (taps, cond) not in enough:
        pytest.skip("in the interpreter some are enough")
    case = Case(time=200, taps=taps, cond=cond, dilations=(1, 2, 4, 32), scale=0.9)
    tensors, settings = call("residual_stack", case, dtype, device)
    x, *weights, c = tensors
    whole = reference.residual_stack(*tensors, **settings)
    del settings["padding"]
    generator = torch.Generator().manual_seed(taps)
    state = x.new_zeros(2, (taps - 1) * 39, 16)
    done, pieces = 0, []
    while done < case.time:
        size = int(torch.randint(0, 40, (), generator=generator))
        chunk = slice(done, done + size)
        local = c[:, :, chunk] if cond == "local" else c
        with wavenet_kernels.use_backend(backend):
            residual, skip, state = wavenet_kernels.residual_stack_stream(
                x[:, :, chunk], state, *weights, local, **settings
            )
        pieces.append(torch.cat([residual, skip], dim=1))
        done += size
    torch.testing.assert_close(torch.cat(pieces, dim=2), torch.cat(whole, dim=1))


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_results_are_in_rows_order(operator):
    tensors, settings = call(operator, Case(), torch.float32)
    for backend, _ in PLACES:
        with wavenet_kernels.use_backend(backend), torch.no_grad():
            outputs = getattr(wavenet_kernels, operator)(*tensors, **settings)
        for output in [outputs] if isinstance(outputs, torch.Tensor) else outputs:
            assert output.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("reference", torch.float32), ("cpu", torch.float32), ("triton", torch.float32)],
)
def test_gate_saturates_and_keeps_nan(backend, dtype):
    if backend == "triton" and torch.cuda.is_available():
        pytest.skip("on a GPU the kernels run there; see the gpu tests")
    values = torch.tensor(
        [0.0, -0.0, 1e-30, 1e-4, 0.3, 0.62, 0.63, 5, 20, 88, 89, 104, 1e4, 3e38, float("inf")],
        dtype=dtype,
    )
    values = torch.cat([values, -values, torch.tensor([float("nan")])])
    pairs = torch.cartesian_prod(values, values).t().reshape(1, 2, -1)
    truth = reference.gated_activation(pairs.double())
    eager_error = reference.gated_activation(pairs).double() - truth
    with wavenet_kernels.use_backend(backend):
        got = wavenet_kernels.gated_activation(pairs)
    assert_rule(got, truth, eager_error, f"gate on {backend}")
    small = pairs[:, 0].abs() <= 1e-4  # where the largest value hides nothing
    small &= pairs[:, 0].isfinite() & pairs[:, 1].isfinite()
    assert_rule(got[:, 0][small], truth[:, 0][small], eager_error[:, 0][small], "gate near zero")


@pytest.mark.parametrize(("backend", "device"), PLACES)
def test_a_nan_stays_where_the_reference_has_it(backend, device):
    tensors, settings = call("residual_stack", Case(batch=1, time=64), torch.float32)
    tensors[0][0, 3, 40] = float("nan")
    tensors[0][0, 5, 20] = float("inf")
    check_operator("residual_stack", tensors, settings, backend, gradients=False)


@pytest.mark.parametrize(("backend", "device"), PLACES)
def test_a_nan_reaches_the_gradients_that_the_reference_has_it_in(backend, device):
    case = Case(batch=1, time=20, dilations=(30, 2))
    tensors, settings = call("residual_stack", case, torch.float32)
    tensors[0][0, 3, 10] = float("nan")
    check_operator("residual_stack", tensors, settings, backend)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    operator=st.sampled_from(DIFFERENTIABLE),
    dtype=st.sampled_from(DTYPES["triton"]),
    **{**RANDOM_SIZES, "dilations": st.lists(st.integers(1, 80), min_size=1, max_size=2)},
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the kernels run there")
def test_random_shapes_of_triton(operator, dtype, taps, same, dilations, **sizes):
    padding = "same" if same and taps % 2 else "causal"
    case = Case(**sizes, taps=taps, padding=padding, dilations=tuple(dilations))
    tensors, settings = call(operator, case, dtype)
    check_operator(operator, tensors, settings, "triton")


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_a_hundred_runs_are_bitwise_equal(operator):
    tensors, settings = call(operator, Case(time=300, cond="local"), torch.float32)
    leaves = [t.requires_grad_() for t in tensors]

    def run() -> list[torch.Tensor]:
        outputs = getattr(wavenet_kernels, operator)(*leaves, **settings)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        return outputs + list(torch.autograd.grad(sum(o.square().sum() for o in outputs), leaves))

    first = run()
    for _ in range(99):
        assert all(map(torch.equal, run(), first))


@pytest.mark.parametrize(("backend", "device"), [("reference", "cpu"), ("cpu", "cpu"), TRITON])
def test_weights_in_any_memory(backend, device):
    case = Case(residual=6, dilation_channels=6, skip=5, taps=3, time=37)
    tensors, settings = call("residual_stack", case, torch.bfloat16, device)
    x, *weights, cond = tensors
    weights = [w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights]
    assert not any(w.is_contiguous() for w in weights)
    check_operator("residual_stack", [x, *weights, cond], settings, backend)


@pytest.mark.parametrize("dilation", [20, 70])
@pytest.mark.parametrize(("taps", "padding"), [(2, "causal"), (3, "same")])
@pytest.mark.parametrize(("backend", "device"), [TRITON])
def test_long_walks_of_the_fused_backward(backend, device, taps, padding, dilation):
    from wavenet_kernels.backends.triton.launcher import Launcher, use_launcher

    class OneProgram(Launcher):
        """For everything: its ring of tiles is gone round several times."""

        def processors(self, device: torch.device) -> int:
            return 1

    case = Case(time=400, taps=taps, padding=padding, dilations=(dilation,), cond="global")
    tensors, settings = call("residual_stack", case, torch.bfloat16, device)
    with use_launcher(OneProgram()):
        check_operator("residual_stack", tensors, settings, backend)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_a_hundred_runs_on_a_gpu_are_bitwise_equal(backend, dtype, monkeypatch):
    case = Case(residual=64, dilation_channels=64, skip=128, time=5000, dilations=(1, 64, 512))
    if backend == "cuda":
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    tensors, settings = call("residual_stack", case, dtype, "cuda")
    leaves = [None if t is None else t.requires_grad_() for t in tensors]
    wanted = [leaf for leaf in leaves if leaf is not None]

    def run() -> list[torch.Tensor]:
        with wavenet_kernels.use_backend(backend):
            outputs = wavenet_kernels.residual_stack(*leaves, **settings)
            loss = sum(o.float().square().sum() for o in outputs)
            return [*outputs, *torch.autograd.grad(loss, wanted)]

    first = run()
    for _ in range(99):
        assert all(map(torch.equal, run(), first))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_a_stack_can_be_captured_in_a_cuda_graph(backend):
    tensors, settings = call("residual_stack", Case(time=300), torch.bfloat16, "cuda")
    with wavenet_kernels.use_backend(backend), torch.no_grad():
        expected = wavenet_kernels.residual_stack(*tensors, **settings)  # compiles
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = wavenet_kernels.residual_stack(*tensors, **settings)
        graph.replay()
    assert all(map(torch.equal, captured, expected))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("taps", "masked"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_masked_tap_contributes_exactly_nothing(dtype, taps, masked, backend):
    """A change that the other taps don't see changes no bit, forward or backward."""
    x, dilation, at = tensor(1, 8, 40, seed=1, dtype=dtype), 3, 20
    weight, grad = tensor(4, 8, taps, seed=2, dtype=dtype), tensor(1, 4, 40, seed=3, dtype=dtype)
    weight[:, :, masked] = 0

    def run(x, grad):
        leaf = x.clone().requires_grad_()
        with wavenet_kernels.use_backend(backend):
            y = wavenet_kernels.dilated_conv1d(leaf, weight, dilation=dilation)
            y.backward(grad)
        return y.detach(), leaf.grad

    louder, steeper = x.clone(), grad.clone()
    louder[:, :, at] *= 1e6
    steeper[:, :, at] *= 1e6
    before, forward, backward = run(x, grad), run(louder, grad)[0], run(x, steeper)[1]
    shifts = {(taps - 1 - k) * dilation for k in range(taps) if k != masked}

    def changed(one, other):
        return set((one != other).any(1).nonzero()[:, 1].tolist())

    assert changed(forward, before[0]) <= {at + shift for shift in shifts}
    assert changed(backward, before[1]) <= {at - shift for shift in shifts}
