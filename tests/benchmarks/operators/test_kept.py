"""What a training step keeps: the products that saves, and that it takes no more than eager."""

from __future__ import annotations

import pytest
import torch

from benchmarks.operators import kept
from benchmarks.operators.memory import peak_mib
from benchmarks.operators.workloads import WORKLOADS


def test_products_are_those_of_the_notes():
    found = {
        workload.name: tuple(
            round(kept.products(workload, keeps_gates=keeps), 2) for keeps in (False, True)
        )
        for workload in WORKLOADS
    }
    assert found["flow"] == found["vocoder"] == (2.75, 2.25)
    assert found["reference"] == found["small"] == (3.0, 2.57)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures(
    "one_thread"
)  # each further one has a workspace, which layers do not add to
@pytest.mark.parametrize("name", ["vocoder", "flow"])
def test_kept_gates_take_no_more_memory_than_eager(name):
    workload = next(workload for workload in WORKLOADS if workload.name == name)
    runs = kept.steps(workload)
    peaks = {of: peak_mib(runs[of], "cpu") for of in ("eager", "inputs", "gates", "auto")}
    assert peaks["inputs"] < peaks["auto"] == peaks["gates"] <= peaks["eager"]
