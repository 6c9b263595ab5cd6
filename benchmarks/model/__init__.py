"""How long GPU kernels take, predicted from their machine code, with no GPU: `launches` takes over
what a backend launches, `replay` runs traces of a few blocks cycle by cycle, `predict` makes
microseconds of that, and `calibrate` does the same with kernels whose speed is known.

The machine code is executed by tests/sass.
"""

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(_TESTS / "sass"), str(_TESTS / "simt")]  # which are no packages
