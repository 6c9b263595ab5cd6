"""How far a share that was counted may be from the true one."""

from __future__ import annotations

import math

# Of a normal distribution 95 % lie within so many deviations.
DEVIATIONS_95 = 1.959964


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score (1927).

    It stays within 0 and 1, and has a width also where none or all succeeded.
    """
    z2 = DEVIATIONS_95**2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = share * (1 - share) / trials + z2 / (4 * trials**2)
    half = DEVIATIONS_95 * math.sqrt(spread) / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def as_text(interval: tuple[float, float]) -> str:
    """For people, in percent."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
