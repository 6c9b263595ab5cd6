"""How "auto" finds out who is right and fastest on a device: fake backends, a fake clock."""

from __future__ import annotations

import io
import itertools
import json
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from operator_cases import CASES, DIFFERENTIABLE
from operator_cases import call as operator_case

import wavenet_kernels
from wavenet_kernels import backends, calibration, doctor, numerics, use_backend
from wavenet_kernels.calibration import choice, keys, program, store, timing, trial, verify
from wavenet_kernels.calibration.decide import Candidate, Decision, decide
from wavenet_kernels.calibration.keys import Key, Kind
from wavenet_kernels.call import SETTINGS, TENSORS, Call
from wavenet_kernels.nn import ResidualStack, StackStream

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(tmp_path / "cache"))


def convolution(time: int = 100, channels: int = 4, dtype: torch.dtype = torch.float32) -> Call:
    """A gated convolution, as a backend is given it."""
    x, weight = torch.randn(2, channels, time), torch.randn(2 * channels, channels, 2)
    arguments = {"x": x.to(dtype), "weight": weight.to(dtype), "bias": None, "cond": None}
    return Call.of("gated_conv1d", {**arguments, "dilation": 2, "padding": "causal"})


def computed_by(call: Call) -> str:
    """The module that serves a training step of "auto"."""
    return choice.choose(call, "auto", step=True).__name__.rpartition(".")[2]


def public(call: Call) -> torch.Tensor:
    """The same by the public function, forward and backward."""
    weight = call.tensors.conv_weight[0].clone().requires_grad_()
    z = wavenet_kernels.gated_conv1d(call.tensors.x, weight, dilation=call.settings.dilations[0])
    z.sum().backward()
    return z.detach()


# What the device is asked for.


@pytest.mark.slow
def test_a_right_and_fast_backend_is_used_after_the_first_call_with_no_setting(gpu):
    gpu.has(reference=2.0, right=1.0).with_children()
    call = convolution()
    expected = wavenet_kernels.reference.gated_conv1d(
        call.tensors.x, call.tensors.conv_weight[0], dilation=2
    )
    assert torch.equal(public(call), expected)
    assert computed_by(call) == "right"
    (decision,) = calibration.decisions()
    assert decision.candidate == Candidate("right")
    assert decision.why == "2.00 times as fast as reference"
    assert decision.figures["right"]["median_ms"] == 1
    assert len([label for label in gpu.timed if label == "right"]) >= 20


@pytest.mark.parametrize("wrong", ["wrong_gradient", "nan", "unwritten", "unsteady", "raising"])
def test_a_backend_that_is_wrong_in_a_corner_is_never_used(gpu, wrong):
    gpu.has(**{"reference": 2.0, wrong: 1.0})
    with pytest.warns(UserWarning, match=f"the {wrong} backend fails .* Fake GPU .* Please send"):
        assert computed_by(convolution()) == "eager"
    (decision,) = calibration.decisions()
    assert list(decision.figures) == ["reference"]
    assert wrong in decision.refused
    (report,) = store.entries(store.REPORTS)
    assert report["content"] == decision.refused[wrong]
    assert report["key"]["device"]["name"] == "Fake GPU"
    # Nor in another size, or by another process, which reads the verdict: not a word is said again.
    choice.forget()
    store.forget_memory()
    assert computed_by(convolution(time=1000)) == "eager"


def test_what_is_wrong_is_said(gpu):
    gpu.has(reference=2.0, wrong_gradient=1.0, nan=1.0, unwritten=1.0, unsteady=1.0, raising=1.0)
    with pytest.warns(UserWarning):
        refused = decide(convolution(), step=True).refused
    assert refused["wrong_gradient"].startswith("gradient of conv_weight: error")
    assert refused["nan"] == "output: elements that are NaN, or were not written"
    assert refused["unwritten"] == refused["nan"]
    assert refused["unsteady"] == "output: other bits the second time"
    assert refused["raising"].startswith("raised RuntimeError: CUDA error: invalid configuration")


def test_a_backend_that_refuses_is_no_candidate(gpu):
    gpu.has(reference=2.0, refusing=1.0)
    assert computed_by(convolution()) == "eager"
    assert gpu.timed == []  # there is no choice


@pytest.mark.slow
def test_crashes_and_hangs_cost_a_candidate_each(gpu):
    names = ("crashing", "right", "hanging", "nan")
    jobs = [
        trial.Job(f"fakes.{name}", None, Kind.of(convolution(), step=True), (2, 100))
        for name in names
    ]
    gpu.with_children()
    found = trial.run(jobs, CPU, job_seconds=5)
    assert found == [
        "ended its process: SIGSEGV",
        "",
        "did not come to an end in time",
        "output: elements that are NaN, or were not written",
    ]


def test_a_child_that_does_not_start_is_no_candidates_fault(monkeypatch, gpu):
    gpu.has(reference=2.0, right=1.0).with_children()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert computed_by(convolution()) == "eager"
    (decision,) = calibration.decisions()
    assert decision.source == "shipped"
    assert decision.why == "there was no time to verify every backend"
    assert store.entries(store.VERDICTS) == []


def test_a_configuration_is_a_candidate_of_its_own(gpu):
    gpu.has(reference=4.0, two_ways=3.0)
    gpu.take(**{'two_ways {"tile": 64}': 2.0, 'two_ways {"tile": 7}': 1.0})
    call = convolution()
    chosen = choice.choose(call, "auto", step=True)  # no warning: the backend itself is right
    (decision,) = calibration.decisions()
    assert decision.candidate == Candidate("two_ways", {"tile": 64})
    assert list(decision.refused) == ['two_ways {"tile": 7}']
    module = backends.load("two_ways")
    seen = []
    original = module.forward

    def forward(call, outputs):
        seen.append(list(module.in_force))
        original(call, outputs)

    module.forward = forward
    try:
        chosen.forward(call, call.empty_outputs())
    finally:
        module.forward = original
    assert seen == [[{"tile": 64}]] and module.in_force == []
    assert "tile" in chosen.describe()
    assert chosen.supports(call) is None and chosen.unavailable() is None
    stack = operator_case("residual_stack", CASES[0], torch.float32)
    arguments = dict(zip(TENSORS, stack[0], strict=True))
    stream = Call.of("residual_stack_stream", {**arguments, "dilations": (1, 2, 4)})
    assert chosen.stream(stream.as_stream_from_nothing()).state() is not None


def test_configurations_that_there_is_no_time_for_are_left_out(gpu, monkeypatch):
    gpu.has(reference=4.0, two_ways=3.0)
    gpu.take(**{'two_ways {"tile": 64}': 2.0, 'two_ways {"tile": 7}': 1.0})
    asked = []

    def run(jobs, device, *, deadline):
        asked.extend(job.configuration for job in jobs)
        return ["", *[None] * (len(jobs) - 1)]

    monkeypatch.setattr(trial, "run", run)
    decision = decide(convolution(), step=True)
    assert asked == [None, {"tile": 64}, {"tile": 7}]  # the backend by itself comes first
    assert decision.candidate == Candidate("two_ways") and decision.source == "measured"
    assert set(decision.refused.values()) == {"there was no time to verify it"}


# Who wins.


def rounds(*medians: float, noise: float = 0.0) -> dict[str, list[float]]:
    """Samples of candidates a, b, ...: every other round is slower by `noise`."""
    return {
        "abc"[index]: [median + noise * (number % 2) for number in range(20)]
        for index, median in enumerate(medians)
    }


def test_another_wins_by_five_percent_or_not_at_all():
    assert timing.winner(rounds(1.0, 0.96)) == "a"
    assert timing.winner(rounds(1.0, 0.94)) == "b"


def test_ties_are_decided_by_the_order():
    assert timing.winner(rounds(1.0, 0.80, 0.79)) == "b"
    assert timing.winner(rounds(1.0, 0.79, 0.80)) == "b"
    assert timing.winner(rounds(1.0, 0.80, 0.70)) == "c"


def test_a_jittery_candidate_does_not_win():
    steady = [1.0] * 20
    jittery = [0.1, 0.1, 3.0] * 6 + [0.1, 0.1]  # a median far below, and a third of the rounds lost
    assert timing.winner({"a": steady, "b": jittery}) == "a"


def test_every_candidate_is_timed_in_turn_and_the_order_changes():
    ran = []

    def seconds(label, run):
        ran.append(label)
        return 1.0

    samples = timing.interleave({"a": list, "b": list, "c": list}, seconds)
    assert {label: len(found) for label, found in samples.items()} == dict.fromkeys("abc", 20)
    turns = [tuple(ran[first : first + 3]) for first in range(0, len(ran), 3)]
    assert len(turns) == 22 and {"".join(sorted(turn)) for turn in turns} == {"abc"}
    assert len(set(turns)) > 3


def test_slower_at_one_size_is_used_at_the_others(gpu):
    gpu.has(reference=2.0, right=1.0)
    assert computed_by(convolution(time=100)) == "right"
    gpu.take(right=3.0)
    assert computed_by(convolution(time=10_000)) == "eager"
    assert computed_by(convolution(time=100)) == "right"
    assert computed_by(convolution(time=110)) == "right"  # of the same power of two: not measured
    assert len(calibration.decisions()) == 2


def test_one_decision_for_forward_and_backward(gpu):
    gpu.has(reference=2.0, right=1.0)
    call = convolution()
    seen = []

    def watch(call, direction):
        seen.append((direction, len(gpu.timed)))
        return threading.Lock()

    backends.watchers.append(watch)
    try:
        public(call)
    finally:
        backends.watchers.remove(watch)
    (_, before), (direction, after) = seen
    assert direction == "backward"
    assert 0 < before == after == len(gpu.timed)  # nothing was measured on the way back


def test_a_stack_for_inference_is_another_kind_than_its_training_step(gpu):
    gpu.has(reference=2.0, right=1.0)
    stack = ResidualStack(4, 4, 4, dilations=[1, 2])
    x = torch.randn(1, 4, 50)
    with torch.no_grad():
        stack(x)
    residual, skip = stack(x)
    (residual.sum() + skip.sum()).backward()
    assert sorted(decision.key.kind.step for decision in calibration.decisions()) == [False, True]


# What is remembered.


def test_another_process_reads_what_was_decided(gpu):
    gpu.has(reference=2.0, right=1.0)
    assert computed_by(convolution()) == "right"
    choice.forget()
    store.forget_memory()
    gpu.timed.clear()
    gpu.take(right=9.0)
    assert computed_by(convolution()) == "right"
    assert gpu.timed == []
    calibration.forget()
    assert calibration.decisions() == []
    assert computed_by(convolution()) == "eager"


def test_another_device_driver_or_version_is_another_key(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    call = convolution()
    hashes = {Key.of(Kind.of(call, step=True), CPU).hash}
    for name, value in (("name", "Other GPU"), ("driver", "580"), ("shared memory", 1)):
        monkeypatch.setattr(keys, "facts_of", lambda device, n=name, v=value: {"type": "f", n: v})
        hashes.add(Key.of(Kind.of(call, step=True), CPU).hash)
    monkeypatch.setenv("WAVENET_KERNELS_TRITON_TABLE", "no such file")
    hashes.add(Key.of(Kind.of(call, step=True), CPU).hash)
    hashes.add(Key.of(Kind.of(call, step=False), CPU).hash)
    hashes.add(Key.of(Kind.of(convolution(dtype=torch.float16), step=True), CPU).hash)
    hashes.add(Key.of(Kind.of(convolution(time=5000), step=True), CPU).hash)
    assert len(hashes) == 8


def test_the_fast_key_has_every_tensor_and_setting():
    """A new field of Tensors or Settings belongs into the key in `choice.choose`."""
    assert TENSORS == ("x", "conv_weight", "conv_bias", "out_weight", "out_bias", "cond")
    others = {
        "dilations": (1,),
        "padding": "same",
        "residual_scale": 0.5,
        "last_residual": False,
        "checkpoint_every": 2,
        "keep": "inputs",
    }
    assert set(others) == SETTINGS
    call = convolution()
    computed_by(call)
    known = len(choice._chosen)
    for number, (name, value) in enumerate(others.items(), 1):
        computed_by(replace(call, settings=replace(call.settings, **{name: value})))
        assert len(choice._chosen) == known + number, name


def test_a_decision_survives_json(gpu):
    gpu.has(reference=2.0, right=1.0)
    decision = decide(convolution(), step=True)
    entry = json.loads(json.dumps(decision.as_entry()))
    assert Decision.from_entry(entry) == decision
    assert calibration.from_entries([entry, {}, None, {"key": 1}]) == [decision]
    entry["content"]["candidate"]["backend"] = "tensorrt"
    assert calibration.from_entries([entry]) == []


def test_a_decision_for_a_backend_that_does_not_serve_the_size_is_not_followed(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    assert computed_by(convolution(time=100)) == "right"
    monkeypatch.setattr(
        backends.load("right"),
        "supports",
        lambda call: "is too long" if call.sizes.T > 100 else None,
    )
    assert computed_by(convolution(time=120)) == "eager"


# When nothing is measured.


def test_off_and_a_named_backend_are_what_they_always_were(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    assert choice.choose(convolution(), "reference", step=True).__name__.endswith("eager")
    assert gpu.timed == []
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "off")
    assert computed_by(convolution()) == "eager"
    assert gpu.timed == []


def test_read_follows_what_is_remembered_and_measures_nothing(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "read")
    assert computed_by(convolution()) == "eager"
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "on")
    choice.forget()
    assert computed_by(convolution()) == "right"
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "read")
    choice.forget()
    gpu.timed.clear()
    assert computed_by(convolution()) == "right"
    assert computed_by(convolution(time=3000)) == "eager"
    assert gpu.timed == []


def test_an_unknown_mode_is_an_error(monkeypatch):
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "maybe")
    with pytest.raises(ValueError, match="WAVENET_KERNELS_CALIBRATE is 'maybe'; accepted are"):
        wavenet_kernels.gated_activation(torch.zeros(1, 2, 3))


def test_on_a_cpu_nothing_is_measured_unasked(monkeypatch):
    monkeypatch.setattr(choice, "_measured", lambda *args, **named: pytest.fail("measured"))
    torch.use_deterministic_algorithms(False)
    wavenet_kernels.gated_activation(torch.zeros(1, 2, 3))
    assert choice.mode(CPU) == "read" and choice.mode(torch.device("cuda")) == "on"


OBSTACLES = {
    "deterministic": lambda patch: patch.setattr(
        torch, "are_deterministic_algorithms_enabled", lambda: True
    ),
    "traced": lambda patch: patch.setattr(torch.compiler, "is_compiling", lambda: True),
    "a CUDA graph": lambda patch: patch.setattr(choice, "capturing", lambda device: True),
    "a backward pass": lambda patch: patch.setattr(torch._C, "_current_graph_task_id", lambda: 3),
    "several processes": lambda patch: patch.setattr(choice, "processes_in_step", lambda: 2),
    "MiB are free": lambda patch: patch.setattr(choice, "free_bytes", lambda device: 1 << 20),
    "of this process": lambda patch: patch.setitem(choice._spent, "gpu", 100.0),
    "child of fork": lambda patch: patch.setattr(choice.forked, "_in_child", True),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_what_forbids_measuring_leaves_it_to_the_rule_until_it_is_over(gpu, reason):
    gpu.has(reference=2.0, right=1.0)
    call = convolution()
    with pytest.MonkeyPatch.context() as patch:
        OBSTACLES[reason](patch)
        assert reason in choice.obstacle(call, step=True)
        assert computed_by(call) == computed_by(call) == "eager"
        assert gpu.timed == []
    assert computed_by(call) == "right"


def test_under_capture_what_is_remembered_is_used(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    call = convolution()
    assert computed_by(call) == "right"
    choice.forget()
    store.forget_memory()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert choice.capturing(torch.device("cuda")) and not choice.capturing(CPU)
    monkeypatch.setattr(choice, "capturing", lambda device: True)
    gpu.timed.clear()
    assert computed_by(call) == "right"
    assert gpu.timed == []


def test_shapes_without_end_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(choice, "MOST_SHAPES", 10)
    for time_ in range(1, 50):
        computed_by(convolution(time=time_))
    assert len(choice._chosen) <= 11


def test_large_tensors_are_made_where_they_are_used(monkeypatch):
    monkeypatch.setattr(keys, "_LARGE", 100)
    kind = Kind.of(convolution(), step=True)
    first, second = (kind.call(2, 500, CPU).tensors.x for _ in range(2))
    assert torch.equal(first, second) and first.shape == (2, 4, 500)


def test_other_tensors_and_modes_are_not_measured(gpu):
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    gpu.has(reference=2.0, right=1.0)
    with FakeTensorMode() as mode:
        fake = Call("gated_conv1d", convolution().tensors, convolution().settings)
    assert mode is not None
    assert choice.obstacle(fake, step=True) == "the tensors are not plain ones"
    with FlopCounterMode(display=False):
        assert "every operation" in choice.obstacle(convolution(), step=True)
    assert "float64" in choice.obstacle(convolution(dtype=torch.float64), step=True)


def test_compiled_and_exported_while_calibration_is_on(gpu):
    gpu.has(reference=2.0, right=1.0)
    stack = ResidualStack(4, 4, 4, dilations=[1, 2]).eval()
    x = torch.randn(1, 4, 50)
    torch.export.export(stack, (x,))
    assert gpu.timed == []  # of tensors without data
    expected = wavenet_kernels.reference.residual_stack(
        x, stack.conv_weight, stack.conv_bias, stack.out_weight, stack.out_bias, dilations=(1, 2)
    )
    compiled = torch.compile(stack, fullgraph=True, backend="aot_eager")
    for got, truth in zip(compiled(x), expected, strict=True):
        torch.testing.assert_close(got, truth)
    assert [decision.candidate.backend for decision in calibration.decisions()] == ["right"]


def test_a_second_thread_does_not_wait(gpu):
    gpu.has(reference=2.0, right=1.0)
    call = convolution()
    with choice._measuring:
        assert computed_by(call) == "eager"
    assert computed_by(call) == "right"


def test_what_would_take_too_long_is_left_to_the_rule(gpu):
    gpu.has(reference=60_000.0, right=1.0)
    assert computed_by(convolution()) == "eager"
    (decision,) = calibration.decisions()
    assert (decision.source, decision.why) == (
        "shipped",
        "to time 2 candidates would take too long",
    )
    assert store.entries(store.DECISIONS) == []


def test_a_calibration_that_fails_does_not_fail_the_call(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    monkeypatch.setattr(timing, "winner", lambda samples: 1 / 0)
    with pytest.warns(UserWarning, match="gated_conv1d could not be calibrated .ZeroDivisionError"):
        assert computed_by(convolution()) == "eager"


def test_out_of_memory_is_nobodys_fault(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)

    def compute(backend, call, *, step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(verify, "compute", compute)
    monkeypatch.setattr(verify, "wrong", lambda *arguments: None)
    with pytest.warns(UserWarning, match="could not be calibrated .OutOfMemoryError"):
        assert computed_by(convolution()) == "eager"
    assert store.entries(store.DECISIONS) == []


# Frozen, recorded, calibrated on request.


def test_frozen_decisions_hold_whatever_the_cache_says_later(gpu):
    gpu.has(reference=2.0, right=1.0)
    made = calibration.calibrate([(convolution(), True)])
    entries = [json.loads(json.dumps(decision.as_entry())) for decision in made]
    calibration.forget()
    gpu.take(right=9.0)
    assert computed_by(convolution()) == "eager"
    with calibration.frozen(calibration.from_entries(entries)):
        assert computed_by(convolution()) == "right"
        assert computed_by(convolution(time=9000)) == "right"  # the nearest size
        assert computed_by(convolution(channels=3)) == "eager"  # of which they say nothing
        gpu.timed.clear()
        assert computed_by(convolution(channels=2)) == "eager"
        assert gpu.timed == []
    assert computed_by(convolution()) == "eager"


def test_calibrate_a_module(gpu):
    gpu.has(reference=2.0, right=1.0)
    stack = ResidualStack(4, 4, 4, dilations=[1, 2])
    stack.register_buffer("calls", torch.zeros(1))
    stack.register_forward_pre_hook(lambda module, inputs: module.calls.add_(1) and None)
    state = torch.get_rng_state()
    (step,) = calibration.calibrate(stack, inputs=(torch.randn(1, 4, 50),))
    with torch.no_grad():
        (inference,) = calibration.calibrate(stack, inputs=(torch.randn(1, 4, 50),))
    assert (step.key.kind.step, inference.key.kind.step) == (True, False)
    assert stack.calls == 0 and all(p.grad is None for p in stack.parameters())
    assert step.describe().startswith(f"{step.hash}  residual_stack step, R=4 D=4 K=2 L=2 S=4")
    assert state is not None
    with pytest.raises(TypeError, match="inputs is empty"):
        calibration.calibrate(stack)


def test_calibrate_a_function_and_respect_the_modes(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)

    def ours():
        x, weight = torch.zeros(1, 2, 30), torch.zeros(6, 2, 3)
        wavenet_kernels.dilated_conv1d(x, weight)
        wavenet_kernels.dilated_conv1d(x, weight)
        wavenet_kernels.gated_activation(torch.zeros(1, 2, 3, dtype=torch.float64))

    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "off")
    assert {made.why for made in calibration.calibrate(ours)} == {"calibration is off"}
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "read")
    assert {made.why for made in calibration.calibrate(ours)} == {"nothing was measured"}
    monkeypatch.delenv("WAVENET_KERNELS_CALIBRATE")
    convolved, gated = calibration.calibrate(ours)
    assert convolved.candidate == Candidate("right")
    assert (gated.candidate, gated.why) == (Candidate("reference"), "nothing was measured")
    assert "C=6 K=3" in convolved.describe() and "2D=2" in gated.describe()


def test_a_budget_that_is_used_up_leaves_the_rest_to_the_rule(gpu):
    gpu.has(reference=2.0, right=1.0)
    (made,) = calibration.calibrate([(convolution(), True)], budget_s=0.0)
    assert made.source == "shipped"


def test_the_command_measures_shows_and_writes(gpu, monkeypatch, capsys, tmp_path):
    from wavenet_kernels.__main__ import main

    gpu.has(reference=2.0, right=1.0, raising=1.0)
    monkeypatch.setitem(program.WORKLOADS, "small", (4, 4, 4, 2, 2, 1, "causal"))
    arguments = ["calibrate", "--workload", "small", "--time", "50", "--forget"]
    with pytest.warns(UserWarning, match="raising backend fails"):
        main([*arguments, "--out", str(tmp_path / "decisions.json")])
    said = capsys.readouterr().out
    assert "right (2.00 times as fast as reference)" in said
    assert "1.000 ms  (1.000 to 1.000)  right" in said
    assert "refused  raising: raised RuntimeError" in said
    (entry,) = json.loads((tmp_path / "decisions.json").read_text())
    assert calibration.from_entries([entry])[0].candidate == Candidate("right")
    monkeypatch.setattr(doctor, "findings", list)  # of a machine that is not a fake
    main([])
    said = capsys.readouterr().out
    assert f"calibration     on, 1 decisions in {store.folder()}" in said
    assert "residual_stack step, R=4 D=4 K=2 L=2 S=4" in said
    with pytest.raises(SystemExit, match="accepted is calibrate"):
        main(["tune"])


# The real ones.


def test_cpu_against_reference_for_real():
    torch.use_deterministic_algorithms(False)
    call = convolution(time=300, channels=8)
    decision = decide(call, step=True)
    assert decision.candidate.backend in ("cpu", "reference")
    assert decision.refused == {} and {"cpu", "reference"} <= set(decision.figures)
    assert decision.key.device["type"] == "cpu"


def test_the_cpus_ways_are_candidates(monkeypatch):
    torch.use_deterministic_algorithms(False)
    cpu = backends.load("cpu")
    call = convolution(time=300, channels=8)
    assert cpu.configurations(call)[0] == {"fast": "0"}
    assert 'cpu {"fast": "0"}' in decide(call, step=True).figures
    with cpu.configured({"fast": "0", "isa": "portable"}):
        named = cpu._execution(torch.float32)
    assert named is cpu._make_execution("portable", torch.get_num_threads(), torch.float32, "0")
    assert cpu._execution(torch.float32) is not named
    monkeypatch.setattr(cpu, "_isa", lambda forced: forced or "avx512")
    monkeypatch.setattr(cpu, "_multiply_bfloat16", lambda: frozenset({"avx512"}))
    assert cpu.configurations(call) == [{"fast": "0"}, {"isa": "avx2"}]
    half = convolution(time=300, channels=8, dtype=torch.bfloat16)
    assert cpu.configurations(half) == [{"isa": "avx2"}]  # products of bfloat16 are plain sums
    with monkeypatch.context() as tiles:
        tiles.setattr(cpu, "_isa", lambda forced: forced or "amx")
        tiles.setattr(cpu, "_multiply_bfloat16", lambda: frozenset({"amx", "avx512"}))
        assert cpu.configurations(call) == [{"fast": "0"}, {"isa": "avx2"}]
        assert cpu.configurations(half) == [{"isa": "avx512"}, {"isa": "avx2"}]
        assert cpu.describe().startswith("amx with products of bfloat16 in tiles (tested by emul")
    with monkeypatch.context() as forced:
        forced.setenv("WAVENET_KERNELS_CPU_ISA", "avx2")
        assert cpu.configurations(half) == [{"fast": "0"}]
    monkeypatch.setenv("WAVENET_KERNELS_CPU_FAST", "1")
    monkeypatch.setenv("WAVENET_KERNELS_CPU_ISA", "avx2")
    assert cpu.configurations(call) == []


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="measures in Triton's interpreter")
def test_triton_in_its_interpreter_for_real(monkeypatch):
    """Tiny shapes: every configuration is verified and timed; the interpreter does not win."""
    pytest.importorskip("triton")
    torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(backends, "_CANDIDATES", {"cpu": ("reference", "cpu", "triton")})
    monkeypatch.setattr(verify, "ODD", 9)  # shorter clips
    stack = ResidualStack(4, 4, 4, dilations=[2]).bfloat16()
    with choice.recording() as calls:
        stack(torch.randn(1, 4, 20, dtype=torch.bfloat16))
    ((call, step),) = calls
    decision = decide(call, step=step, rounds=1)
    ways = [label for label in decision.figures if label.startswith("triton")]
    assert decision.refused == {} and decision.candidate.backend != "triton"
    assert 'triton {"layer": {"BLOCK_T": 32}}' in ways
    assert 'triton {"layer_gradient": {"BLOCK_T": 32}}' in ways
    triton = backends.load("triton")
    (rows,) = triton.configurations(convolution())[0].values()
    assert list(rows) == ["BLOCK_T"]
    wide = Call.of("dilated_conv1d", {"x": torch.zeros(1, 4, 9), "weight": torch.zeros(6, 4, 3)})
    assert list(backends.load("triton").configurations(wide)[0]) == ["convolution"]
    gate = Call.of("gated_activation", {"a": torch.zeros(1, 4, 9)})
    assert backends.load("triton").configurations(gate) == []


def test_on_a_cpu_when_asked_for(monkeypatch):
    torch.use_deterministic_algorithms(False)
    monkeypatch.setenv("WAVENET_KERNELS_CALIBRATE", "on")
    monkeypatch.setitem(choice.KIND_SECONDS, "cpu", 60.0)
    monkeypatch.setitem(choice.PROCESS_SECONDS, "cpu", 60.0)
    public(convolution(time=64, channels=4))
    (decision,) = calibration.decisions()
    assert decision.source == "measured"


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("step", [True, False])
def test_the_cpu_backend_is_right_by_the_rule_that_calibration_goes_by(name, step):
    for case in CASES[1:9:2]:
        tensors, settings = operator_case(name, case, torch.bfloat16)
        call = call_of(name, tensors, settings)
        kind = Kind.of(call, step=step)
        sizes = call.sizes.B, call.sizes.T
        assert verify.wrong(backends.load("cpu"), kind, CPU, sizes) is None, case


def call_of(name, tensors, settings):
    from wavenet_kernels.ops._register import OPERATORS

    names = OPERATORS[name].tensors
    more = {"checkpoint_every": 2, "last_residual": True} if name == "residual_stack" else {}
    tensors = dict(zip(names, tensors, strict=False))  # without step and what dropout kept
    arguments = {**tensors, **settings, **more}
    return Call.of(name, arguments).as_stack().within_time()


def test_a_decided_call_costs_next_to_nothing():
    """Microseconds are measured by `python -m benchmarks calibration`."""
    call = convolution()
    choice.choose(call, "auto", step=True)
    start = time.perf_counter()
    for _ in range(1000):
        choice.choose(call, "auto", step=True)
    assert time.perf_counter() - start < 0.1


def test_free_memory_and_processes_are_known():
    assert choice.free_bytes(CPU) > 0
    assert choice.processes_in_step() == 1


def test_nobody_casts_what_is_measured(gpu, monkeypatch):
    gpu.has(reference=2.0, right=1.0)
    seen = set()
    compute = verify.compute

    def noting(backend, call, *, step):
        seen.add((torch.is_autocast_enabled("cpu"), call.tensors.x.dtype))
        return compute(backend, call, step=step)

    monkeypatch.setattr(verify, "compute", noting)
    with torch.autocast("cpu", torch.bfloat16):
        public(convolution())
    assert seen == {(False, torch.bfloat16)}


def test_use_backend_is_above_all(gpu):
    gpu.has(reference=2.0, right=1.0)
    with use_backend("reference"):
        public(convolution())
    assert gpu.timed == []


def test_facts_of_devices():
    assert keys.facts_of(CPU)["threads"] == torch.get_num_threads()
    assert keys.facts_of(torch.device("mps")) == {"type": "mps"}
    assert keys.is_gpu(torch.device("cuda")) and not keys.is_gpu(CPU)
    installed = keys.build(CPU)
    assert installed["package"] == wavenet_kernels.__version__ and len(installed["content"]) == 16


def test_unfinished_business_of_the_child_is_not_waited_for(gpu):
    gpu.with_children()
    job = trial.Job("fakes.right", None, Kind.of(convolution(), step=True), (2, 100))
    assert trial.run([job], CPU, deadline=time.monotonic()) == [None]
    assert trial.run([], CPU) == []


def test_every_combination_of_modes_is_left_as_it_was():
    kind = Kind.of(convolution(), step=True)
    for grad, inference in itertools.product((False, True), repeat=2):
        with torch.set_grad_enabled(grad), torch.inference_mode(inference):
            assert verify.wrong(backends.load("cpu"), kind, CPU, (2, 50)) is None
            assert torch.is_inference_mode_enabled() == inference


def test_the_childs_part(monkeypatch, capsys, gpu):
    """In this process: what it reads and what it answers."""
    gpu.has(reference=2.0, right=1.0, two_ways=1.0)
    kind = Kind.of(convolution(), step=True)
    jobs = [
        trial.Job("fakes.right", None, kind, (2, 100)),
        trial.Job("fakes.two_ways", {"tile": 7}, kind, (2, 100)),
    ]
    given = json.dumps(trial._as_json(jobs, CPU))
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    trial.main()
    ready, right, wrong = capsys.readouterr().out.splitlines()
    mark = "wavenet_kernels.calibration.trial: "
    assert (ready, right) == (f'{mark}"ready"', f'{mark}""')
    assert wrong.startswith(f'{mark}"output: error')


def test_a_large_element_hides_no_error_of_small_ones():
    truth = torch.ones(1000, dtype=torch.float64)
    truth[0] = 1e5
    nothing = torch.zeros(1000, dtype=torch.float64)
    got = truth.float()
    assert numerics.violation(got, truth, nothing) is None
    got[1:] += 0.02
    assert got.sub(truth).abs().max() < numerics.bound(nothing, truth, torch.finfo(got.dtype).eps)
    said = numerics.violation(got, truth, nothing)
    assert said.startswith("root mean square error 0.02, eager's 0, bound")
    empty = torch.zeros(0, dtype=torch.float64)
    assert numerics.violation(empty.float(), empty, empty) is None


def test_streams_go_by_the_shipped_rule(gpu):
    gpu.has(reference=2.0, right=1.0)
    stack = ResidualStack(4, 4, 4, dilations=[1, 2])
    weights = (stack.conv_weight, stack.conv_bias, stack.out_weight, stack.out_bias)

    def streamed():
        with torch.no_grad():
            state = torch.zeros(1, 3, 4)
            wavenet_kernels.residual_stack_stream(
                torch.zeros(1, 4, 5), state, *weights, dilations=(1, 2)
            )
            StackStream(*weights, dilations=(1, 2))(torch.zeros(1, 4, 5))

    assert calibration.calibrate(streamed) == [] and gpu.timed == []
    streamed()
    assert gpu.timed == [] and calibration.decisions() == []


def test_on_a_gpu_the_cache_is_flushed_and_the_device_waited_for(monkeypatch):
    events = []

    class Buffer:
        def zero_(self):
            events.append("flush")

    monkeypatch.setattr(torch, "empty", lambda *sizes, **named: Buffer())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    stopwatch = timing.stopwatch(torch.device("cuda"))
    assert stopwatch("a", lambda: events.append("run")) >= 0
    assert events == ["flush", "wait", "run", "wait"]
