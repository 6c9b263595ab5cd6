"""The CUDA kernels against the float64 reference by the rule: on the CPU, run by tests/simt, and on
a GPU where there is one.

With WAVENET_SIMT_SANITIZE=1, in the environment of `simt_build.sanitized_environment()`, the first
run under AddressSanitizer and UBSan; tests/simt/test_sanitized.py does so with some.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
import simt_build
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numerics import assert_rule, check_operator, tf32_conv1d
from on_cpu import SimulatedGpu
from operator_cases import LAYOUTS, WALKS, Case, call, stack_arguments, strided

import wavenet_kernels
from wavenet_kernels import backends, reference
from wavenet_kernels.backends import cuda
from wavenet_kernels.calibration import program, verify
from wavenet_kernels.calibration.decide import decide
from wavenet_kernels.calibration.keys import Kind
from wavenet_kernels.call import TENSORS, Call, Settings, Sizes, Tensors
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


@pytest.mark.parametrize("skip", [0, 48])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_layers_that_hear_a_step(dtype, skip, device):
    """To the kernels they are layers without a residual, whose 1x1s all go to the skip."""
    case = Case(skip=skip, dilations=(1, 4), time=41, cond="local")
    tensors, options = call("residual_stack", case, dtype, device)
    step = torch.randn(case.batch, 2 * case.residual, 1).to(device, dtype)

    def hearing(stack):
        return lambda *given, **options: stack(*given[:-1], **options, step=given[-1])

    both = hearing(reference.residual_stack), hearing(wavenet_kernels.residual_stack)
    check_operator("residual_stack", [*tensors, step], options, "cuda", functions=both)


@pytest.mark.parametrize("case", LARGE, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_large(dtype, case, device):
    tensors, options = call("residual_stack", case, dtype, device)
    check_operator("residual_stack", tensors, options, "cuda")


@pytest.mark.parametrize("case", WALKS, ids=str)
def test_blocks_that_walk_over_tiles(case, device, monkeypatch):
    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "1")
    tensors, options = call("residual_stack", case, torch.bfloat16, device)
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


def _stack_shape(module, sizes, layers=9, dtype="bfloat16", **limits):
    return module.StackShape(
        dtype=dtype,
        **sizes._asdict(),
        dilations=[2**n for n in range(layers)],
        same_padding=False,
        **limits,
    )


SMALL_SIZES = Sizes(B=8, T=16_000, R=32, D=32, S=64, K=2)
CLASSIFIER_SIZES = SMALL_SIZES._replace(R=64, D=64, S=128)
VOCODER_SIZES = SMALL_SIZES._replace(R=128, D=128, S=128, K=3)
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_planned(module, architecture):
    """Narrow layers share launches and are differentiated in one; tiles fit any chip's memory."""
    chip = module.Device.typical(architecture)
    outputs = {"residual": True, "skip": True, "device": chip}

    def forward(sizes, keep):
        shape = _stack_shape(module, sizes)
        launches = module.StackForward(shape=shape, keep=keep, **outputs).launches
        assert sum(launch.count for launch in launches) == 9
        assert all(launch.shared_bytes <= chip.shared_bytes for launch in launches)
        return max(launch.count for launch in launches)

    def fused(sizes):
        shape = _stack_shape(module, sizes)
        launches = module.StackBackward(shape=shape, fuse=True, **outputs).launches
        assert all(launch.shared_bytes <= chip.shared_bytes for launch in launches)
        return sum(launch.kernel == "fused_backward" for launch in launches)

    for sizes in (SMALL_SIZES, CLASSIFIER_SIZES, VOCODER_SIZES):
        forward(sizes, True), fused(sizes)
    assert forward(SMALL_SIZES, False) >= 2
    assert forward(VOCODER_SIZES, False) <= forward(SMALL_SIZES, False)
    assert fused(SMALL_SIZES) == 9 and fused(VOCODER_SIZES) == 0
    if chip.shared_bytes > 200 * 1024:
        assert fused(CLASSIFIER_SIZES) == 9
    if chip.shared_bytes < 100 * 1024:
        with pytest.raises(ValueError, match="does not fit into the 99 KiB of shared memory"):
            forward(Sizes(B=1, T=100, R=256, D=256, S=512, K=4), True)


def test_tall_tiles(module):
    """Of slabs of 128 outputs in 16 bits, where four of them fit and tiles fill the device."""

    def tiles(sizes, architecture="sm_90", **how):
        outputs = {
            "residual": True,
            "skip": True,
            "device": module.Device.typical(architecture),
        }
        shape = _stack_shape(module, sizes, 1, **how)
        launches = [
            *module.StackForward(shape=shape, keep=True, **outputs).launches,
            *module.StackBackward(shape=shape, fuse=True, **outputs).launches,
        ]
        return {
            (
                launch.kernel,
                *map(int, re.search(r"M=(\d+).* of (\d+) threads", str(launch)).groups()),
            )
            for launch in launches
            if "weight" not in launch.kernel
        }

    kernels = ("layers", "gate_gradient", "data_gradient")
    wide = VOCODER_SIZES._replace(B=32)
    tall, flat = ({(kernel, *of) for kernel in kernels} for of in ((192, 384), (128, 256)))
    assert tiles(wide) == tall
    assert tiles(wide, rows=128) == tiles(wide._replace(T=800)) == flat
    assert {rows for _, rows, _ in tiles(wide, dtype="float32")} <= {32, 64, 128}
    assert not tiles(wide, "sm_80") & tall
    assert tiles(CLASSIFIER_SIZES) == {("layers", 192, 384), ("fused_backward", 128, 256)}
    assert tiles(SMALL_SIZES) == {("layers", 128, 256), ("fused_backward", 128, 256)}


def test_launches_are_as_long_as_two_blocks_allow(module):
    """More narrow layers would leave a multiprocessor one block, whose warps are too few."""
    chip = module.Device.typical("sm_90")
    shape = _stack_shape(module, SMALL_SIZES)
    how = {"residual": True, "skip": True, "keep": True, "device": chip}
    launches = module.StackForward(shape=shape, **how).launches
    assert max(launch.count for launch in launches) == 3
    assert all(2 * launch.shared_bytes <= chip.shared_bytes for launch in launches)


def test_phases_of_wide_weight_gradients(module):
    """A tile lies on few, of which each thread copies one, even where longer runs cost no halo."""
    outputs = {"residual": True, "skip": True, "device": module.Device.typical("sm_90")}
    shape = _stack_shape(module, VOCODER_SIZES._replace(K=1))
    phases = {"weight_gradient": set(), "gate_gradient": set()}
    for launch in module.StackBackward(shape=shape, fuse=True, **outputs).launches:
        if launch.kernel in phases:
            phases[launch.kernel].add(int(re.search(r"P=(\d+)", str(launch))[1]))
    assert max(phases["weight_gradient"]) == 8 < max(phases["gate_gradient"])


def test_what_a_device_is(module, monkeypatch):
    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "7,5")
    monkeypatch.setenv("WAVENET_SIMT_SHARED_KB", "99")
    here = module.Device.at(0)
    assert (here.multiprocessors, here.shared_bytes) == (7, 99 * 1024)
    assert module.Device.at(1).multiprocessors == 5
    assert module.Device.typical("sm_90").shared_bytes == 227 * 1024
    with pytest.raises(ValueError, match="'sm_75'; known are sm_80 sm_86"):
        module.Device.typical("sm_75")
    with pytest.raises(RuntimeError, match="there is no such device"):
        module.Device.at(2)


class OtherGpu(SimulatedGpu):
    """Whose tensors are on a device that isn't current."""

    def __init__(self, module, index):
        super().__init__(module)
        self.library, self._index = ctypes.CDLL(module.__file__), index

    @contextmanager
    def current(self, device):
        before = self.library.wavenet_simt_exchange_device(self._index)
        try:
            yield
        finally:
            assert self.library.wavenet_simt_exchange_device(before) == self._index


def _use(machine, case, dtype=torch.bfloat16):
    """Everything that is launched."""
    with cuda.use_machine(machine):
        for operator in ("residual_stack", "gated_conv1d", "gated_activation"):
            tensors, options = call(operator, case, dtype)
            leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
            with wavenet_kernels.use_backend("cuda"):
                y = getattr(wavenet_kernels, operator)(*leaves, **options)
            (sum(t.sum() for t in y) if isinstance(y, tuple) else y.sum()).backward()
        x, *weights, cond = stack_arguments(case, dtype)
        with wavenet_kernels.use_backend("cuda"), torch.no_grad():
            StackStream(*weights, batch=case.batch, dilations=case.dilations)(x, cond)


def test_kernels_run_on_the_device_of_their_tensors(module, monkeypatch):
    """And nothing is set up on the one that is current."""
    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "3,3,3")
    machine = OtherGpu(module, 1)
    before = machine.library.wavenet_simt_exchange_device(2)
    try:
        _use(machine, Case())
        assert machine.library.wavenet_simt_exchange_device(2) == 2
        assert machine.library.wavenet_simt_used(1) and not machine.library.wavenet_simt_used(2)
    finally:
        machine.library.wavenet_simt_exchange_device(before)


def test_a_new_size_loads_no_kernel(module, monkeypatch):
    """Which can't be done while a stream is captured."""
    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "3,3,3,3")
    machine = OtherGpu(module, 3)
    machine.library.wavenet_simt_capture(True)
    try:
        with pytest.raises(RuntimeError, match="would be loaded while a stream is captured"):
            _use(machine, Case())
        machine.library.wavenet_simt_capture(False)
        _use(machine, Case(time=1))
        machine.library.wavenet_simt_capture(True)
        for case in (SMALL[3], SMALL[5], LARGE[4]):
            _use(machine, case)
    finally:
        machine.library.wavenet_simt_capture(False)


def test_plans_print_what_they_launch(module):
    outputs = {"residual": True, "skip": True, "device": module.Device.typical("sm_90")}
    shape = _stack_shape(module, CLASSIFIER_SIZES, layers=2)
    forward = module.StackForward(shape=shape, keep=False, **outputs)
    fused, apart = (
        module.StackBackward(shape=shape, fuse=fuse, **outputs) for fuse in (True, False)
    )
    stream = module.StackStream(shape=shape, device=outputs["device"])
    for plan in (forward, fused, apart):
        *lines, last = [line for line in repr(plan).splitlines() if "gradients of" not in line]
        assert lines == [repr(launch) for launch in plan.launches]
        assert last == f"workspace: {plan.workspace_bytes} bytes"
    assert repr(stream) == repr(stream.launch)
    assert "rows in" in repr(apart) and "rows in" not in repr(fused)
    assert [(launch.kernel, launch.first) for launch in apart.launches] == [
        ("gate_gradient", 1),
        ("data_gradient", 1),
        ("gate_gradient", 0),
        ("data_gradient", 0),
    ]
    launch = fused.launches[1]
    rows = 128 + 1  # of x and its gradients: a tap looks back by one
    pitch = 64 * 2 + 16
    assert launch.regions == {
        "weights": 2 * 64 * 64 * 2 * 2 * 2 + (64 + 128) * 64 * 2,
        "x and gradients": rows * pitch + 128 * ((64 + 128) * 2 + 16),
        "grad_a": rows * (2 * 64 * 2 + 16),
        "z": 128 * pitch,
        "biases": 2 * 64 * 4 + (2 * 64 + 64 + 128) * 4,  # and the sums of their gradients
    }
    for launch in (*forward.launches, *fused.launches, *apart.launches, stream.launch):
        assert sum(launch.regions.values()) == launch.shared_bytes <= 227 * 1024
        threads = 384 if "M=192" in repr(launch) else 256
        start = f"{launch.blocks} blocks of {threads} threads, {launch.shared_bytes} bytes"
        assert start in repr(launch)
        assert "bfloat16 R=64 D=64 S=128 K=2" in repr(launch)


class Typical:
    """The module, where device 0 is a typical chip."""

    def __init__(self, module, architecture):
        self._module, self._architecture = module, architecture

    def __getattr__(self, name):
        return getattr(self._module, name)

    @property
    def Device(self):
        chip = self._module.Device.typical(self._architecture)
        return mock.Mock(at=lambda index: chip)


def _stack(name, time, dtype=torch.bfloat16):
    return program.stack(program.WORKLOADS[name], 32, time, torch.device("cpu"), dtype)


def test_ways_to_compute_a_call_lead_to_other_launches(module):
    """Calibration has alternatives for every workload; none twice, nor the planner's own."""
    with cuda.use_machine(SimulatedGpu(Typical(module, "sm_90"))):
        ways = {name: cuda.configurations(_stack(name, 16_000)) for name in program.WORKLOADS}
        assert ways["small"] == [{"rows": 64}, {"layers": 1}, {"ring": True}, {"fuse": False}]
        assert ways["classifier"][0] == {"slab": 64}
        assert all(len(found) >= 2 for found in ways.values())
        call = _stack("small", 16_000)
        launches = [cuda._launches(call)]
        for way in ways["small"]:
            with cuda.configured(way):
                launches.append(cuda._launches(call))
        assert len({str(found) for found in launches}) == 5
        with cuda.configured({"slab": 64, "rows": 32}):  # there are no such tiles
            assert cuda._launches(call) == launches[0]
        gate = Call.of("gated_activation", {"a": torch.zeros(1, 32, 9)})
        assert cuda.configurations(gate) == []


@pytest.mark.parametrize("way", cuda._WAYS, ids=str)
@pytest.mark.parametrize(
    "case", [SMALL[3], pytest.param(LARGE[0], marks=pytest.mark.slow)], ids=str
)
def test_every_way_is_right(way, case, device):
    """As calibration finds out: outputs and gradients, the same bits twice, nothing unwritten."""
    tensors, options = call("residual_stack", case, torch.bfloat16, device)
    kind = Kind.of(
        Call.of("residual_stack", {**dict(zip(TENSORS, tensors, strict=True)), **options}),
        step=True,
    )
    where = torch.device(device)
    assert verify.wrong(backends.Configured("cuda", way), kind, where, (2, 97)) is None


@pytest.mark.slow
def test_calibration_among_ways(module, monkeypatch, tmp_path):
    """All of it on a tiny stack: every way is verified and timed; the simulator does not win."""
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(tmp_path))
    monkeypatch.setattr(backends, "_CANDIDATES", {"cpu": ("reference", "cpu", "cuda")})
    monkeypatch.setattr(verify, "ODD", 9)  # shorter clips
    tiny = (32, 32, 32, 2, 2, 1, "causal")
    small = program.stack(tiny, 1, 20, torch.device("cpu"), torch.bfloat16)
    with cuda.use_machine(SimulatedGpu(module)):
        decision = decide(small, step=True, rounds=1)
    assert decision.refused == {} and decision.candidate.backend != "cuda"
    assert {"cuda", 'cuda {"layers": 1}', 'cuda {"ring": true}'} <= set(decision.figures)


def test_times_beyond_31_bits_are_refused(module):
    """Kernels count times and tiles in 31 bits; shorter clips may have more elements than that."""
    long = torch.empty(1, 16, 1, dtype=torch.bfloat16).expand(1, 16, 2**31)
    weights = torch.empty(1, 32, 16, 2, dtype=torch.bfloat16), None, None, None, None
    gated = Call("gated_conv1d", Tensors(long, *weights), Settings((1,)))
    with cuda.use_machine(SimulatedGpu(module)):
        assert "less than 2^31 times, not of 2147483648" in cuda.supports(gated)
    outputs = {"residual": True, "skip": True, "keep": False}
    outputs["device"] = module.Device.typical("sm_90")
    with pytest.raises(ValueError, match="a clip of 2.31 times or more"):
        module.StackForward(shape=_stack_shape(module, SMALL_SIZES._replace(T=2**31)), **outputs)
    with pytest.raises(ValueError, match="clips of 2.31 tiles or more"):
        module.StackForward(
            shape=_stack_shape(module, SMALL_SIZES._replace(B=2**12, T=2**30)), **outputs
        )
    shape = _stack_shape(module, SMALL_SIZES._replace(B=4, T=2**30))
    assert module.StackForward(shape=shape, **outputs).launches


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
