"""The CPU kernels take no more instructions than they are known to: a slow-down shows, untimed."""

from __future__ import annotations

import pytest

from benchmarks.compiled import instruction_counts, native
from benchmarks.compiled.instruction_counts import COMMITTED

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("isa", COMMITTED)
def test_counts_are_those_committed(tmp_path, isa):
    if reason := instruction_counts.unavailable(isa):
        pytest.skip(reason)
    if not COMMITTED[isa].exists():
        pytest.skip(f"no counts of {isa} are committed: instruction-counts --isa {isa} --write")
    committed = instruction_counts.committed(isa)
    instruction_counts.configure(tmp_path, isa)
    if different := instruction_counts.other_compiler(
        native.compiler(tmp_path), committed["compiler"]
    ):
        pytest.skip(different)
    counted = instruction_counts.count(tmp_path, isa)
    wrong = instruction_counts.complaints(counted, committed["instructions"], isa)
    assert not wrong, "\n".join(wrong)


def test_complaints_name_the_case_and_the_figures():
    expected = {"slower": 1000, "faster": 1000, "as before": 1000, "gone": 1000}
    counted = {"slower": 1051, "faster": 949, "as before": 1049, "new": 1}
    faster, gone, new, slower = instruction_counts.complaints(counted, expected, "neon")
    assert slower == (
        "slower takes 1,051 instructions, 1.051 times the committed 1,000: it became slower"
    )
    assert faster == (
        "faster takes 949 instructions, 0.949 times the committed 1,000: "
        "`python -m benchmarks instruction-counts --isa neon --write` commits to that"
    )
    assert gone == "gone is committed and wasn't counted"
    assert new == "new has no committed count"


@pytest.mark.parametrize(
    ("found", "different"), [(("GNU", "12.4.1"), False), (("GNU", "13.2.0"), True)]
)
def test_another_compiler_is_named(found, different):
    said = instruction_counts.other_compiler(found, {"name": "GNU", "version": "12.2.0"})
    assert bool(said) == different
    assert said in (None, "the committed counts are those of GNU 12, this is GNU 13")
