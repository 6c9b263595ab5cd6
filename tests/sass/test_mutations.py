"""Every barrier and every wait of the CUDA kernels is needed, or it is said here why it stands.

Each is taken out of the machine code and the launch done again: a race, or a copy that nobody
waited for, must be found. `make test` does so with the forward pass of a narrow stack, `make
mutations` with every kernel that has any.
"""

from __future__ import annotations

from dataclasses import dataclass

import cuda_machine_code
import pytest
import torch
from cuda_machine_code import launches_taken_over
from mutations import Mutations
from operator_cases import Case, call, stack_arguments
from sass_cases import ALL

import wavenet_kernels
from wavenet_kernels.nn import StackStream


@dataclass(frozen=True)
class Work:
    """What is launched on one multiprocessor, so that blocks walk over several tiles."""

    operator: str
    case: Case
    backward: bool = True

    def __str__(self) -> str:
        return f"{self.operator}-{self.case}"

    def run(self) -> None:
        with wavenet_kernels.use_backend("cuda"), torch.set_grad_enabled(self.backward):
            if self.operator == "stream":
                x, *weights, cond = stack_arguments(self.case, torch.bfloat16)
                settings = {"batch": self.case.batch, "dilations": self.case.dilations}
                StackStream(*weights, **settings)(x, cond)
                return
            tensors, settings = call(self.operator, self.case, torch.bfloat16)
            leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
            outputs = getattr(wavenet_kernels, self.operator)(*leaves, **settings)
            if self.backward:
                sum(output.sum() for output in outputs).backward()


NARROW = Case(residual=32, dilation_channels=32, skip=64, time=400, dilations=(1, 4))
FEW = [[Work("residual_stack", NARROW, backward=False)]]
WIDE = Case(residual=128, dilation_channels=128, skip=128, taps=3, time=400, dilations=(1,))
# Together, as what stands in for a barrier in one case needn't in another.
EVERYTHING = [
    [
        Work("residual_stack", NARROW),
        Work("residual_stack", Case(residual=64, dilation_channels=64, skip=128, time=500)),
        Work("residual_stack", Case(skip=16, time=700, dilations=(1, 4), cond="global")),
        Work("residual_stack", WIDE),
        Work("stream", Case(residual=32, time=70, dilations=(1, 20)), backward=False),
        Work("stream", Case(residual=128, dilation_channels=64, time=70), backward=False),
    ]
]


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("works", EVERYTHING if ALL else FEW, ids=["everything" if ALL else "few"])
def test_barriers_and_waits_are_needed(works, arch, monkeypatch):
    if reason := cuda_machine_code.obstacle(arch):
        pytest.skip(reason)
    monkeypatch.setenv("WAVENET_SIMT_MULTIPROCESSORS", "1")
    mutations = Mutations()
    with launches_taken_over(arch, mutations.take):
        for work in works:
            work.run()
    survivors = mutations.survivors()
    assert len(mutations.noticed) > 4
    assert all(len(places) <= _let_pass(name) for name, places in survivors.items()), survivors


def _let_pass(kernel: str) -> int:
    """How many of a kernel stand though nothing notices that they are gone.

    for_each_tile (csrc/cuda/tile.cuh) is for weights that stay as for those in a ring. The former
    need its wait and barrier before a tile, which a ring's slabs have of their own; the latter need
    its wait at the end. An instance has one kind of weights here. Of gradients in tall tiles the
    next tile comes during this one, so that the barrier before it is loaded isn't needed either.

    The wide weights' gradient waits for the products of a step before the next one's fragments are
    loaded, as these may take the registers of those. In one of four steps, of two taps and of
    three, the compiler has others for them.
    """
    if "wide_weight_gradient" in kernel:
        return 2
    if "Li192E" in kernel and ("gate_gradient" in kernel or "data_gradient" in kernel):
        return 2
    on_tiles = ("layers_kernel", "gate_gradient", "data_gradient", "fused_backward")
    return int(any(name in kernel for name in on_tiles))
