"""What the wider world expects of a torch operator: opcheck, gradcheck, compile, export, ..."""

from __future__ import annotations

import copy

import pytest
import torch
import torch._dynamo.testing
from operator_cases import DIFFERENTIABLE, Case, call
from torch.utils.flop_counter import FlopCounterMode

import wavenet_kernels
from wavenet_kernels import reference
from wavenet_kernels.decompositions import decompositions

SMALL = Case(
    residual=3, dilation_channels=2, skip=4, taps=3, time=11, dilations=(1, 6), cond="local"
)
ops = torch.ops.wavenet_kernels


def _leaves(tensors):
    return [None if t is None else t.detach().requires_grad_() for t in tensors]


def _tuple(outputs):
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _op_arguments(operator, tensors, settings):
    """The registered operator's positional arguments."""
    settings = {"residual_scale": 1.0, **settings} if "residual" in operator else settings
    order = ("dilation", "dilations", "padding", "residual_scale")
    values = [settings[name] for name in order if name in settings]
    if operator == "residual_stack":
        values = [list(values[0]), *values[1:], True, 1, "auto"]
    if operator in ("residual_block", "residual_stack"):
        tensors, values = [*tensors, None, None], [*values, 0.0]  # no step, nothing dropped
    return (*tensors, *values, "auto")


@pytest.mark.parametrize("cond", ["none", "global", "local"])
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_opcheck(operator, cond):
    case = Case(**{**vars(SMALL), "cond": cond, "conv_bias": cond != "global"})
    tensors, settings = call(operator, case, torch.float32)
    arguments = _op_arguments(operator, _leaves(tensors), settings)
    torch.library.opcheck(getattr(ops, operator), arguments)


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_opcheck_of_the_backward(operator):
    tensors, settings = call(operator, SMALL, torch.float32)
    *arguments, backend = _op_arguments(operator, tensors, settings)
    saving = f"{operator}_saving" if operator == "residual_stack" else operator
    outputs = _tuple(getattr(ops, saving)(*arguments, backend))
    grads = [torch.ones_like(output) for output in outputs]
    if operator == "residual_stack":
        grads[2:] = outputs[2:]  # what the backward goes on from
    mask = [True, False, True, True, True, True][: len(tensors)]
    if operator in ("residual_block", "residual_stack"):
        mask += [False, False]
    torch.library.opcheck(getattr(ops, f"{operator}_backward"), (*grads, *arguments, mask, backend))


def test_opcheck_of_the_stack_that_saves():
    tensors, settings = call("residual_stack", SMALL, torch.float32)
    arguments = _op_arguments("residual_stack", _leaves(tensors), settings)
    torch.library.opcheck(ops.residual_stack_saving, arguments)
    *arguments, _, dropout, backend = arguments
    torch.library.opcheck(ops.residual_stack_saving, (*arguments, "gates", dropout, backend))


def test_opcheck_of_streaming():
    (x, *weights), settings = call("residual_stack", SMALL, torch.float32)
    state = torch.randn(2, 2 * 7, 3)
    torch.library.opcheck(
        ops.residual_stack_stream, (x, state, *weights, list(settings["dilations"]), 0.7, "auto")
    )


@pytest.mark.parametrize("cond", ["none", "global", "local"])
@pytest.mark.parametrize("padding", ["causal", "same"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_gradcheck(operator, backend, padding, cond):
    case = Case(**{**vars(SMALL), "cond": cond, "padding": padding, "scale": 0.7})
    tensors, settings = call(operator, case, torch.float64)
    with wavenet_kernels.use_backend(backend):
        assert torch.autograd.gradcheck(
            lambda *leaves: getattr(wavenet_kernels, operator)(*leaves, **settings),
            _leaves(tensors),
        )


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_only_the_gradients_asked_for(operator):
    tensors, settings = call(operator, SMALL, torch.float64)
    leaves = _leaves(tensors)
    outputs = _tuple(getattr(wavenet_kernels, operator)(*leaves, **settings))
    every = torch.autograd.grad(sum(o.square().sum() for o in outputs), leaves)
    for index, tensor in enumerate(tensors):
        alone = tensor.detach().requires_grad_()
        given = [*tensors[:index], alone, *tensors[index + 1 :]]
        outputs = _tuple(getattr(wavenet_kernels, operator)(*given, **settings))
        (grad,) = torch.autograd.grad(sum(o.square().sum() for o in outputs), [alone])
        torch.testing.assert_close(grad, every[index])


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_compile_fullgraph_with_dynamic_batch_and_time(operator):
    """One compilation serves other B and T, gradients included."""
    public, plain = getattr(wavenet_kernels, operator), getattr(reference, operator)
    torch._dynamo.reset()
    compilations = torch._dynamo.testing.CompileCounterWithBackend("inductor")
    compiled = torch.compile(public, fullgraph=True, dynamic=True, backend=compilations)
    first = 0
    # Sizes that no other dimension has: dynamo takes equal ones for the same.
    for batch, time in ((5, 11), (8, 23), (9, 10)):
        case = Case(**{**vars(SMALL), "batch": batch, "time": time})
        tensors, settings = call(operator, case, torch.float32)
        ours, theirs = _leaves(tensors), _leaves(tensors)
        outputs, expected = _tuple(compiled(*ours, **settings)), _tuple(plain(*theirs, **settings))
        for got, truth in zip(outputs, expected, strict=True):
            torch.testing.assert_close(got, truth)
        sum(o.square().sum() for o in outputs).backward()
        sum(o.square().sum() for o in expected).backward()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
        first = first or compilations.frame_count
        assert compilations.frame_count == first


def test_compiled_code_follows_use_backend():
    a = torch.randn(2, 4, 5)
    compiled = torch.compile(wavenet_kernels.gated_activation, fullgraph=True)
    with wavenet_kernels.use_backend("reference"):
        expected = compiled(a)
    with (
        wavenet_kernels.use_backend("cuda"),
        pytest.raises(wavenet_kernels.BackendUnavailableError),
    ):
        compiled(a)
    torch.testing.assert_close(compiled(a), expected)


def test_a_step_is_exported_for_any_length():
    """Neither how much is kept for backward nor how large that is bounds it."""
    from wavenet_kernels.nn import ResidualStack

    stack = ResidualStack(64, 64, 8, dilations=(1, 2), kernel_size=2)
    shapes = {"x": {2: torch.export.Dim("time", max=10_000_000)}}
    program = torch.export.export(stack, (torch.randn(1, 64, 16),), dynamic_shapes=shapes)
    (bounds,) = program.range_constraints.values()
    assert bounds.upper >= 10_000_000


def test_export_with_dynamic_shapes():
    from wavenet_kernels.nn import ResidualStack

    stack = ResidualStack(4, 3, 5, dilations=(1, 2, 4))
    shapes = {"x": {0: torch.export.Dim("batch"), 2: torch.export.Dim("time")}}
    program = torch.export.export(stack, (torch.randn(2, 4, 16),), dynamic_shapes=shapes)
    x = torch.randn(3, 4, 29)
    for got, expected in zip(program.module()(x), stack(x), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("operator", [*DIFFERENTIABLE, "residual_stack_stream"])
def test_an_exported_program_can_do_without_us(operator):
    """Decomposed, its graph holds torch's operators only, and computes the same."""
    tensors, settings = call(operator.removesuffix("_stream"), SMALL, torch.float32)
    if operator == "residual_stack_stream":
        del settings["padding"]
        halo = (SMALL.taps - 1) * sum(SMALL.dilations)
        tensors.insert(1, torch.randn(SMALL.batch, halo, SMALL.residual))

    class Model(torch.nn.Module):
        def forward(self, *inputs):
            return getattr(wavenet_kernels, operator)(*inputs, **settings)

    program = torch.export.export(Model(), tuple(tensors))
    assert any("wavenet_kernels" in str(node.target) for node in program.graph.nodes)
    plain = program.run_decompositions(decompositions())
    assert not any("wavenet_kernels" in str(node.target) for node in plain.graph.nodes)
    got = _tuple(plain.module()(*tensors))
    for ours, expected in zip(got, _tuple(Model()(*tensors)), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_autocast(operator):
    tensors, settings = call(operator, SMALL, torch.float32)
    leaves = _leaves(tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = _tuple(getattr(wavenet_kernels, operator)(*leaves, **settings))
    rounded = [None if t is None else t.bfloat16() for t in tensors]
    expected = _tuple(getattr(wavenet_kernels, operator)(*rounded, **settings))
    for got, truth in zip(outputs, expected, strict=True):
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, truth)
    sum(o.float().sum() for o in outputs).backward()
    assert all(leaf.grad.dtype == torch.float32 for leaf in leaves if leaf is not None)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_backward_inside_autocast_is_the_same(operator, backend):
    """Its dtypes were chosen by the forward; autocast then casts nothing in it."""
    tensors, settings = call(operator, SMALL, torch.float32)
    results = []
    for inside in (False, True):
        leaves = _leaves(tensors)
        with wavenet_kernels.use_backend(backend):
            outputs = _tuple(getattr(wavenet_kernels, operator)(*leaves, **settings))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            results.append(torch.autograd.grad(sum(o.sum() for o in outputs), leaves))
    assert all(map(torch.equal, *results))


def test_autocast_in_compiled_code():
    tensors, settings = call("residual_stack", SMALL, torch.float32)
    leaves = _leaves(tensors)

    def run(*leaves):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return wavenet_kernels.residual_stack(*leaves, **settings)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(*leaves), run(*leaves), strict=True):
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, expected)
    sum(o.float().sum() for o in compiled(*leaves)).backward()
    assert all(leaf.grad.dtype == torch.float32 for leaf in leaves)


def test_autocast_leaves_float64_alone():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = wavenet_kernels.gated_activation(torch.randn(1, 2, 3, dtype=torch.float64))
    assert z.dtype == torch.float64


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_double_backward_is_refused_with_a_sentence(operator):
    tensors, settings = call(operator, SMALL, torch.float64)
    leaves = _leaves(tensors)
    outputs = _tuple(getattr(wavenet_kernels, operator)(*leaves, **settings))
    loss = sum(o.square().sum() for o in outputs)
    (grad,) = torch.autograd.grad(loss, leaves[0], create_graph=True)
    with pytest.raises(NotImplementedError, match=f"{operator} can be differentiated once"):
        grad.sum().backward()


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_forward_mode_is_refused_with_a_sentence(operator):
    tensors, settings = call(operator, SMALL, torch.float64)
    public = getattr(wavenet_kernels, operator)
    sentence = f"{operator}: forward-mode differentiation is not implemented"
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(tensors[0], torch.ones_like(tensors[0]))
        with pytest.raises(NotImplementedError, match=sentence):
            public(dual, *tensors[1:], **settings)


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_torch_func_transforms(operator):
    """Ensembles over stacked weights, per-sample gradients, and derivatives of either mode."""
    tensors, settings = call(operator, SMALL, torch.float64)
    public, plain = getattr(wavenet_kernels, operator), getattr(reference, operator)

    def loss_of(function):
        return lambda *t: sum(o.sin().sum() for o in _tuple(function(*t, **settings)))

    def same(transform):
        torch.testing.assert_close(transform(public), transform(plain))

    every = tuple(range(len(tensors)))
    same(lambda f: torch.func.grad(loss_of(f), argnums=every)(*tensors))
    # The last output: the skip, where there is a residual.
    outputs = lambda f: lambda x: _tuple(f(x, *tensors[1:], **settings))[-1]  # noqa: E731
    same(lambda f: torch.func.vjp(outputs(f), tensors[0])[1](outputs(f)(tensors[0])))
    same(lambda f: torch.func.jacrev(outputs(f))(tensors[0]))
    same(lambda f: torch.func.jvp(outputs(f), (tensors[0],), (tensors[0],)))
    # A sample is a batch of one.
    samples = [tensors[0].unsqueeze(1), *tensors[1:-1], tensors[-1].unsqueeze(1)]
    if operator == "dilated_conv1d":
        samples = [tensors[0].unsqueeze(1), *tensors[1:]]
    axes = tuple(0 if t.dim() > u.dim() else None for t, u in zip(samples, tensors, strict=True))
    weight = 1
    same(
        lambda f: torch.func.vmap(torch.func.grad(loss_of(f), argnums=weight), in_dims=axes)(
            *samples
        )
    )
    models = [tensors[0], *(torch.stack([t, 2 * t, -t]) for t in tensors[1:])]
    axes = (None, *[0] * (len(models) - 1))
    ensemble = torch.func.vmap(lambda *t: _tuple(public(*t, **settings)), in_dims=axes)(*models)
    for index, factor in enumerate((1, 2, -1)):
        alone = _tuple(public(tensors[0], *(factor * t for t in tensors[1:]), **settings))
        for got, expected in zip(ensemble, alone, strict=True):
            torch.testing.assert_close(got[index], expected)


def test_a_named_backend_inside_a_transform_is_refused():
    a = torch.randn(2, 4, 5)
    with (
        wavenet_kernels.use_backend("cpu"),
        pytest.raises(wavenet_kernels.BackendUnavailableError, match="inside torch.func's"),
    ):
        torch.func.grad(lambda a: wavenet_kernels.gated_activation(a).sum())(a)


def test_a_compiled_transform():
    a = torch.randn(2, 4, 5)
    gradient = torch.func.grad(lambda a: wavenet_kernels.gated_activation(a).sum())
    compiled = torch.compile(gradient, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a), gradient(a))
    torch.testing.assert_close(
        torch.compile(wavenet_kernels.gated_activation, fullgraph=True, backend="aot_eager")(a),
        reference.gated_activation(a),
    )


@pytest.mark.parametrize("layers", [4, 12])
def test_backward_allocates_nothing_for_the_saved_inputs(layers):
    """Peak memory of a step beyond inputs and outputs: saved inputs, and a few layers' worth."""
    case = Case(batch=1, time=4000, dilations=(1,) * layers, conv_bias=False, out_bias=False)
    tensors, settings = call("residual_stack", case, torch.float32)
    leaves = _leaves(tensors)
    _, skip = wavenet_kernels.residual_stack(*leaves, **settings, last_residual=False)
    with torch.profiler.profile(profile_memory=True) as profile:
        skip.sum().backward()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    # skip's gradient, grad_x, grad_a, a transposed copy: none of it grows with the layers.
    assert peak < 10 * 4 * 4000 * 16


def test_streaming_is_for_inference():
    (x, *weights), settings = call("residual_stack", SMALL, torch.float64)
    state = x.new_zeros(2, 14, 3)
    residual, _, _ = wavenet_kernels.residual_stack_stream(
        x.requires_grad_(), state, *weights, dilations=settings["dilations"]
    )
    with pytest.raises(NotImplementedError, match="residual_stack_stream is for inference"):
        residual.sum().backward()


def test_deep_copies_and_checkpointing():
    from torch.utils.checkpoint import checkpoint

    from wavenet_kernels.nn import ResidualStack

    stack = ResidualStack(4, 3, 5, dilations=(1, 2))
    twin = copy.deepcopy(stack)
    x = torch.randn(2, 4, 9)
    sum(o.sum() for o in stack(x)).backward()
    sum(o.sum() for o in checkpoint(twin, x, use_reentrant=False)).backward()
    for a, b in zip(stack.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("backend", ["reference", "cpu", "triton"])
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_outputs_may_be_written_to_in_place(operator, backend):
    tensors, settings = call(operator, SMALL, torch.float32)

    def gradients(in_place):
        leaves = _leaves(tensors)
        with wavenet_kernels.use_backend(backend):
            outputs = _tuple(getattr(wavenet_kernels, operator)(*leaves, **settings))
        for output in outputs:
            assert output.stride(1) == 1 and not output._is_view()
        if in_place:
            for output in outputs:
                output += 1
                output[..., 0] = 0
                torch.nn.ReLU(inplace=True)(output)
        else:
            inside = torch.arange(SMALL.time) > 0
            outputs = [torch.relu((output + 1) * inside) for output in outputs]
        sum((o * o).sum() for o in outputs).backward()
        return [leaf.grad for leaf in leaves if leaf is not None]

    for got, wanted in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("without_x", [False, True])
@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_flop_counter_counts_what_eager_pytorch_has(operator, without_x):
    tensors, settings = call(operator, SMALL, torch.float32)
    functions = getattr(wavenet_kernels, operator), getattr(reference, operator)
    counted, expected = (_flops(f, tensors, settings, without_x) for f in functions)
    assert counted == expected
    assert counted > 0 or operator == "gated_activation"


def test_flop_counter_knows_that_a_last_residual_is_not_computed():
    tensors, settings = call("residual_stack", SMALL, torch.float32)
    settings["last_residual"] = False
    functions = wavenet_kernels.residual_stack, reference.residual_stack
    counted, with_it = (_flops(f, tensors, settings, False) for f in functions)
    products = SMALL.batch * SMALL.time * SMALL.residual * SMALL.dilation_channels
    assert counted == with_it - 3 * 2 * products  # forward, two in backward; a product is 2 flops


def _flops(function, tensors, settings, without_x):
    leaves = _leaves(tensors)
    leaves[0].requires_grad_(not without_x)
    with FlopCounterMode(display=False) as counter:
        sum(o.sum() for o in _tuple(function(*leaves, **settings))).backward()
    return counter.get_total_flops()


class _Skip(torch.nn.Module):
    """A stack's skip sum; its channels differ from all other sizes."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Parameter(torch.randn(3, 12, 4, 2))
        self.out = torch.nn.Parameter(torch.randn(3, 9, 6))

    def forward(self, x):
        return wavenet_kernels.residual_stack(
            x, self.conv, None, self.out, None, dilations=(1, 2, 4)
        )[1]


def _traced(how, module, x):
    if how == "export":
        return torch.export.export(module, (x,)).module()
    if how == "jit.trace":
        return torch.jit.trace(module, (x,))
    return torch.fx.symbolic_trace(module)


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("how", ["export", "jit.trace", "fx"])
def test_what_was_traced_in_one_grad_mode_works_in_the_other(how, with_gradients):
    module, x = _Skip(), torch.randn(2, 4, 30)
    with torch.set_grad_enabled(with_gradients):
        traced = _traced(how, module, x)
    with torch.no_grad():
        torch.testing.assert_close(traced(x), module(x))
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    traced(leaf).sin().sum().backward()
    module(other).sin().sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad)


def test_an_exported_program_saves_nothing_for_a_backward_that_will_not_be():
    program = torch.export.export(_Skip(), (torch.randn(2, 4, 30),))
    for exported in (program, program.run_decompositions({})):
        called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
        assert "wavenet_kernels.residual_stack.default" in called
        assert not any("saving" in target for target in called)
