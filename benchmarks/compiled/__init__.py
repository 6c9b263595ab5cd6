"""Machine code, read or counted, not timed: instructions, registers, spills, shared memory."""
