"""What the programs of compiled kernels are made of."""

from __future__ import annotations

import pytest

import wavenet_kernels._cpu as _cpu
from benchmarks.compiled.native import best_isa


@pytest.mark.parametrize(("here", "isa"), [("amx", "avx512"), ("avx2", "avx2")])
def test_the_best_instruction_set_has_kernels_of_float32(here, isa, monkeypatch):
    monkeypatch.setattr(_cpu, "find_isa", lambda name: here)
    assert best_isa() == isa
