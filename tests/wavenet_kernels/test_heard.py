"""Layers that convolve something else than they pass on: a step embedding, dropout."""

from __future__ import annotations

import re

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import check_operator
from operator_cases import LAYOUTS, Case, block_arguments, stack_arguments, strided, tensor

import wavenet_kernels
from wavenet_kernels import reference
from wavenet_kernels.decompositions import decompositions
from wavenet_kernels.nn import ResidualBlock, ResidualStack
from wavenet_kernels.ops._heard import draw_kept

OPERATORS = ("residual_block", "residual_stack")
ops = torch.ops.wavenet_kernels

CASES = [
    Case(cond="global"),
    Case(batch=4, time=1),
    Case(time=3, dilations=(8, 1)),
    Case(residual=5, dilation_channels=7, skip=3, taps=3, time=97, cond="local", scale=0.7),
    Case(residual=33, dilation_channels=17, skip=0, taps=4, time=70, dilations=(3, 64)),
    Case(residual=8, dilation_channels=24, skip=40, taps=3, padding="same", out_bias=False),
    Case(residual=64, dilation_channels=32, taps=4, dilations=(1, 16), scale=0.5**0.5),  # is wide
]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
PLACES = [("reference", d, "cpu") for d in DTYPES]
PLACES += [("cpu", d, "cpu") for d in (*DTYPES, torch.float64)]
ON_GPU = [
    pytest.param(backend, dtype, "cuda", marks=pytest.mark.gpu)
    for backend in ("reference", "triton", "cuda")
    for dtype in DTYPES
]
if not torch.cuda.is_available():  # Triton's interpreter, which is slow
    PLACES.append(("triton", torch.bfloat16, "cpu"))


def arguments(operator: str, case: Case, dtype: torch.dtype, device: str = "cpu"):
    """Tensors and settings, without a step."""
    given = {"padding": case.padding, "residual_scale": case.scale}
    if operator == "residual_block":
        tensors = block_arguments(case, dtype, device)
        return tensors, {"dilation": case.dilations[-1], **given}
    return stack_arguments(case, dtype, device), {"dilations": case.dilations, **given}


def step_of(operator: str, case: Case, time: int, dtype: torch.dtype, device: str = "cpu"):
    channels = case.residual * (1 if operator == "residual_block" else len(case.dilations))
    return tensor(case.batch, channels, time, seed=8, dtype=dtype, device=device)


def both(operator: str, dropout: float):
    """The specification and the public function, of tensors of which the last one is step."""
    plain, public = getattr(reference, operator), getattr(wavenet_kernels, operator)

    def specified(x, *tensors, **settings):
        options = {name: settings.pop(name, None) for name in ("checkpoint_every", "keep")}
        assert set(options) == {"checkpoint_every", "keep"}  # they change no result
        torch.manual_seed(3)
        kept = draw_kept(operator, x, len(settings.get("dilations", (1,))), dropout)
        *tensors, step = tensors
        return plain(x, *tensors, **settings, step=step, kept=kept, dropout=dropout)

    def called(*tensors, **settings):
        torch.manual_seed(3)
        *tensors, step = tensors
        return public(*tensors, **settings, step=step, dropout=dropout)

    return specified, called


HEARD = [("constant", 0.0), ("local", 0.0), ("none", 0.3), ("constant", 0.3), ("local", 0.1)]


@pytest.mark.parametrize(("step", "dropout"), HEARD)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("backend", "dtype", "device"), [*PLACES, *ON_GPU])
def test_matches_the_float64_reference(backend, dtype, device, operator, case, step, dropout):
    if (backend, device) == ("triton", "cpu") and (
        operator == "residual_block" or case not in CASES[::3] or step != "local"
    ):
        pytest.skip("the interpreter is slow")
    tensors, options = arguments(operator, case, dtype, device)
    time = 1 if step == "constant" else case.time
    heard = None if step == "none" else step_of(operator, case, time, dtype, device)
    functions = both(operator, dropout)
    check_operator(operator, [*tensors, heard], options, backend, functions=functions)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    operator=st.sampled_from(OPERATORS),
    how=st.sampled_from(PLACES[:7]),
    taps=st.integers(1, 5),
    same=st.booleans(),
    constant=st.booleans(),
    dropout=st.sampled_from((0.0, 0.2)),
    batch=st.integers(4, 6),
    residual=st.integers(1, 40),
    dilation_channels=st.integers(1, 40),
    skip=st.integers(0, 40),
    time=st.integers(1, 120),
    dilations=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    conv_bias=st.booleans(),
    out_bias=st.booleans(),
    cond=st.sampled_from(("none", "global", "local")),
    scale=st.sampled_from((1.0, 0.5**0.5)),
)
def test_random_shapes(operator, how, taps, same, constant, dropout, dilations, **sizes):
    backend, dtype, _ = how
    padding = "same" if same and taps % 2 else "causal"
    case = Case(**sizes, taps=taps, padding=padding, dilations=tuple(dilations))
    tensors, options = arguments(operator, case, dtype)
    step = step_of(operator, case, 1 if constant else case.time, dtype)
    functions = both(operator, dropout)
    check_operator(operator, [*tensors, step], options, backend, functions=functions)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_any_strides(backend, layout):
    case = Case(residual=6, dilation_channels=6, skip=5, taps=3, time=37)
    tensors, options = arguments("residual_stack", case, torch.float32)
    tensors[0] = strided(tensors[0], layout)
    step = strided(step_of("residual_stack", case, 37, torch.float32), layout)
    functions = both("residual_stack", 0.2)
    check_operator("residual_stack", [*tensors, step], options, backend, functions=functions)


@pytest.mark.parametrize("skip", [0, 32])
@pytest.mark.parametrize("last_residual", [True, False])
@pytest.mark.parametrize("option", [1, 2, 3, 7, "gates", "inputs"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_stack_options_change_no_result(backend, option, last_residual, skip):
    if not (last_residual or skip):
        return  # no output, no gradient
    case = Case(dilations=(1, 2, 4, 8, 1), skip=skip, cond="local", scale=0.7)
    tensors, options = arguments("residual_stack", case, torch.float32)
    step = step_of("residual_stack", case, 1, torch.float32)
    how = {"checkpoint_every": option} if isinstance(option, int) else {"keep": option}
    options |= {"last_residual": last_residual, **how}
    functions = both("residual_stack", 0.2)
    check_operator("residual_stack", [*tensors, step], options, backend, functions=functions)


def test_a_stack_without_any_output():
    case = Case(skip=0)
    tensors, options = arguments("residual_stack", case, torch.float32)
    step = step_of("residual_stack", case, 1, torch.float32)
    residual, skip = wavenet_kernels.residual_stack(
        *tensors, **options, last_residual=False, step=step
    )
    assert residual.shape == skip.shape == (2, 0, 50)


@pytest.mark.parametrize("empty", ["B", "T"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_empty_tensors(operator, empty):
    case = Case(batch=0 if empty == "B" else 2, time=0 if empty == "T" else 5)
    tensors, options = arguments(operator, case, torch.float32)
    step = step_of(operator, case, 1, torch.float32).requires_grad_()
    residual, skip = getattr(wavenet_kernels, operator)(*tensors, **options, step=step, dropout=0.5)
    (residual.sum() + skip.sum()).backward()
    assert torch.equal(step.grad, torch.zeros_like(step))


@pytest.mark.parametrize("padding", ["causal", "same"])
def test_a_step_is_diffwaves_to_the_edges(padding):
    """Their block, by its formulas: outside the signal there is no embedding, as in no cond."""
    block = ResidualBlock(
        4, 4, 4, kernel_size=3, dilation=2, padding=padding, residual_scale=0.5**0.5
    )
    x, embedding = torch.randn(2, 4, 30), torch.randn(2, 4, 1)
    a = F.conv1d(
        F.pad(x + embedding, (4, 0) if padding == "causal" else (2, 2)),
        block.conv_weight,
        block.conv_bias,
        dilation=2,
    )
    out = F.conv1d(a[:, :4].tanh() * a[:, 4:].sigmoid(), block.out_weight[:, :, None])
    residual, skip = block(x, step=embedding)
    torch.testing.assert_close(residual, (x + out[:, :4]) * 0.5**0.5)
    torch.testing.assert_close(skip, out[:, 4:])


@pytest.mark.parametrize("step", ["none", "constant", "local"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradcheck(operator, backend, step):
    case = Case(
        residual=3,
        dilation_channels=2,
        skip=4,
        taps=3,
        time=11,
        dilations=(1, 6),
        cond="local",
        scale=0.7,
    )
    tensors, options = arguments(operator, case, torch.float64)
    if step != "none":
        tensors.append(step_of(operator, case, 1 if step == "constant" else 11, torch.float64))
    leaves = [t.requires_grad_() for t in tensors]
    given = leaves if step != "none" else [*leaves, None]
    _, called = both(operator, 0.3)
    with wavenet_kernels.use_backend(backend):
        assert torch.autograd.gradcheck(
            lambda *leaves: called(*leaves, *given[len(leaves) :], **options), leaves
        )


SMALL = Case(
    residual=3, dilation_channels=2, skip=4, taps=3, time=11, dilations=(1, 6), cond="local"
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_only_the_gradients_asked_for(operator):
    tensors, options = arguments(operator, SMALL, torch.float64)
    tensors.append(step_of(operator, SMALL, 1, torch.float64))
    _, called = both(operator, 0.3)

    def gradients(leaves):
        wanted = [t for t in leaves if t.requires_grad]
        loss = sum(o.square().sum() for o in called(*leaves, **options))
        return torch.autograd.grad(loss, wanted)

    every = gradients([t.clone().requires_grad_() for t in tensors])
    for index, tensor_ in enumerate(tensors):
        alone = [*tensors[:index], tensor_.clone().requires_grad_(), *tensors[index + 1 :]]
        torch.testing.assert_close(gradients(alone)[0], every[index])


def test_torchs_generator_says_what_is_dropped():
    stack = ResidualStack(8, 4, 6, dilations=[1, 2], dropout=0.4)
    x = torch.randn(3, 8, 40)
    torch.manual_seed(1)
    once, other = stack(x), stack(x)
    torch.manual_seed(1)
    again = stack(x)
    assert all(map(torch.equal, once, again))
    assert not torch.equal(once[1], other[1])
    kept = draw_kept("", torch.randn(20, 8, 500), 2, 0.4)
    assert kept.shape == (2, 20, 8, 500) and abs(kept.float().mean() - 0.6) < 0.01


@pytest.mark.parametrize(
    "layer", [ResidualBlock(4, 3, 5, dropout=0.5), None], ids=["block", "stack"]
)
def test_layers_drop_in_training_only(layer):
    layer = layer or ResidualStack(4, 3, 5, dilations=[1, 2], dropout=0.5)
    x, step = torch.randn(2, 4, 30), torch.randn(2, 4 if isinstance(layer, ResidualBlock) else 8, 1)
    layer.eval()
    without = layer(x, step=step)
    assert all(map(torch.equal, without, layer(x, None, step)))
    layer.train()
    assert not torch.equal(layer(x, step=step)[0], without[0])
    assert "dropout=0.5" in repr(layer)


def test_a_step_is_not_dropped():
    """Where almost all of x is, a block is that of the step alone."""
    block = ResidualBlock(4, 3, 5, dropout=1 - 1e-6)
    x, step = torch.randn(2, 4, 30), torch.randn(2, 4, 1)
    torch.manual_seed(0)
    residual, skip = block(x, step=step)
    alone = block.eval()(torch.zeros_like(x), step=step)
    torch.testing.assert_close(residual, x + alone[0])
    torch.testing.assert_close(skip, alone[1])


def _op_arguments(operator, step, dropout):
    tensors, options = arguments(operator, SMALL, torch.float32)
    step = None if step is None else step_of(operator, SMALL, step, torch.float32)
    layers = 1 if operator == "residual_block" else 2
    kept = draw_kept(operator, tensors[0], layers, dropout)
    leaves = [None if t is None else t.requires_grad_() for t in (*tensors, step)]
    values = [list(v) if isinstance(v, tuple) else v for v in options.values()]
    if operator == "residual_stack":
        values += [True, 1, "auto"]
    return [*leaves, kept, *values, dropout, "auto"]


@pytest.mark.parametrize(("step", "dropout"), [(1, 0.0), (11, 0.3), (None, 0.3)])
@pytest.mark.parametrize("operator", OPERATORS)
def test_opcheck(operator, step, dropout):
    given = _op_arguments(operator, step, dropout)
    torch.library.opcheck(getattr(ops, operator), given)
    saving = f"{operator}_saving" if operator == "residual_stack" else operator
    given = [t.detach() if isinstance(t, torch.Tensor) else t for t in given]
    outputs = getattr(ops, saving)(*given)
    grads = [torch.ones_like(output) for output in outputs[:2]]
    *given, backend = given
    mask = [True, False, True, True, True, True, step is not None, False]
    torch.library.opcheck(
        getattr(ops, f"{operator}_backward"), (*grads, *outputs[2:], *given, mask, backend)
    )


@pytest.mark.parametrize("operator", OPERATORS)
def test_compile_fullgraph_with_dynamic_batch_and_time(operator):
    """One compilation serves other B and T, gradients included; what is dropped, too."""
    public, plain = getattr(wavenet_kernels, operator), getattr(reference, operator)

    def run(*tensors, step, **options):
        residual, skip = public(*tensors, **options, step=step)
        return residual, skip, public(*tensors, **options, step=step, dropout=0.5)[1]

    torch._dynamo.reset()
    compilations = torch._dynamo.testing.CompileCounterWithBackend("inductor")
    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend=compilations)
    first = 0
    for batch, time in ((5, 11), (8, 23), (9, 10)):
        case = Case(**{**vars(SMALL), "batch": batch, "time": time})
        tensors, options = arguments(operator, case, torch.float32)
        step = step_of(operator, case, 1, torch.float32)
        ours, theirs = step.clone().requires_grad_(), step.clone().requires_grad_()
        *outputs, dropped = compiled(*tensors, step=ours, **options)
        expected = plain(*tensors, step=theirs, **options)
        for got, truth in zip(outputs, expected, strict=True):
            torch.testing.assert_close(got, truth)
        assert dropped.isfinite().all() and not torch.equal(dropped, outputs[1])
        sum(o.square().sum() for o in outputs).backward()
        sum(o.square().sum() for o in expected).backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
        first = first or compilations.frame_count
        assert compilations.frame_count == first


@pytest.mark.parametrize("training", [False, True])
def test_an_exported_program_can_do_without_us(training):
    stack = ResidualStack(4, 3, 5, dilations=[1, 2, 4], dropout=0.5).train(training)
    shapes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("time")}
    program = torch.export.export(
        stack,
        (torch.randn(2, 4, 16), None, torch.randn(2, 12, 1)),
        dynamic_shapes=(shapes, None, {0: shapes[0]}),
    )
    x, step = torch.randn(3, 4, 29), torch.randn(3, 12, 1)
    plain = program.run_decompositions(decompositions())
    assert not any("wavenet_kernels" in str(node.target) for node in plain.graph.nodes)
    torch.manual_seed(2)
    expected = stack(x, None, step)
    for exported in (program, plain):
        torch.manual_seed(2)
        for got, truth in zip(exported.module()(x, None, step), expected, strict=True):
            torch.testing.assert_close(got, truth)


@pytest.mark.parametrize("operator", OPERATORS)
def test_autocast(operator):
    tensors, options = arguments(operator, SMALL, torch.float32)
    step = step_of(operator, SMALL, 1, torch.float32)
    _, called = both(operator, 0.2)
    leaves = [t.requires_grad_() for t in (*tensors, step)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = called(*leaves, **options)
    expected = called(*(t.detach().bfloat16() for t in leaves), **options)
    for got, truth in zip(outputs, expected, strict=True):
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, truth)
    sum(o.float().sum() for o in outputs).backward()
    assert step.grad.dtype == torch.float32


@pytest.mark.parametrize("operator", OPERATORS)
def test_torch_func_transforms(operator):
    tensors, options = arguments(operator, SMALL, torch.float64)
    step = step_of(operator, SMALL, 1, torch.float64)
    specified, called = both(operator, 0.2)

    def same(transform):
        torch.testing.assert_close(transform(called), transform(specified))

    loss = lambda f: lambda s: sum(o.sin().sum() for o in f(*tensors, s, **options))  # noqa: E731
    same(lambda f: torch.func.grad(loss(f))(step))
    same(lambda f: torch.func.jvp(loss(f), (step,), (step,)))


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"step": torch.zeros(2, 3, 1)}, ValueError, "step has shape (2, 3, 1); accepted is (2, 6"),
        ({"step": torch.zeros(2, 6, 5)}, ValueError, "accepted is (2, 6, 11) or (2, 6, 1)"),
        ({"step": torch.zeros(2, 6, 1).double()}, TypeError, "step is torch.float64 but x is"),
        ({"step": 1.0}, TypeError, "step is a builtins.float; accepted is a torch tensor"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0; accepted is a number from 0 and below 1"),
        ({"dropout": -0.1}, ValueError, "dropout is -0.1; accepted"),
        ({"dropout": torch.tensor(0.1)}, TypeError, "dropout is tensor(0.1000); accepted"),
        ({"dropout": "0.1"}, TypeError, "dropout is '0.1'; accepted"),
    ],
)
def test_what_does_not_fit_is_refused(options, kind, sentence):
    tensors, given = arguments("residual_stack", SMALL, torch.float32)
    with pytest.raises(kind, match=re.escape(sentence)):
        wavenet_kernels.residual_stack(*tensors, **given, **options)


@pytest.mark.parametrize("x", [None, [[[0.0]]]], ids=["None", "list"])
def test_dropout_of_what_is_no_tensor_is_refused(x):
    (_, *weights), given = arguments("residual_stack", SMALL, torch.float32)
    with pytest.raises(TypeError, match="residual_stack: x is .*; accepted is a torch tensor"):
        wavenet_kernels.residual_stack(x, *weights, **given, dropout=0.5)


def test_what_a_layer_cannot_be_is_refused():
    with pytest.raises(ValueError, match="ResidualStack: dropout is 1; accepted is a number from"):
        ResidualStack(4, 3, 5, dilations=[1], dropout=1)
    with pytest.raises(TypeError, match="ResidualBlock: dropout is a str; accepted is a number"):
        ResidualBlock(4, 3, 5, dropout="much")
    stack = ResidualStack(4, 3, 5, dilations=[1])
    with pytest.raises(ValueError, match="stream: step is given; accepted is None"):
        stack.stream(torch.zeros(1, 4, 3), stack.initial_state(1), step=torch.zeros(1, 4, 1))


def test_a_stream_drops_nothing():
    stack = ResidualStack(4, 3, 5, dilations=[1, 2], dropout=0.5)
    x = torch.randn(1, 4, 20)
    streamed = stack.stream(x, stack.initial_state(1))
    with torch.no_grad():
        whole = stack.eval()(x)
    for got, expected in zip(streamed, whole, strict=False):
        torch.testing.assert_close(got, expected)
