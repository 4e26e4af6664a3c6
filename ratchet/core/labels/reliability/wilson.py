"""The interval of a share, and of the difference of two. Pure."""

import math

_Z = 1.959963984540054
"""Of 95 %, both sides."""


def wilson_bounds(num_hits: int, num: int) -> tuple[float, float]:
    """Of the true share (0..1) behind num_hits of num > 0, with 95 % confidence; never a single point, also at 0 and 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    share, square = num_hits / num, _Z**2
    middle = (share + square / (2 * num)) / (1 + square / num)
    half = _Z / (1 + square / num) * math.sqrt(share * (1 - share) / num + square / (4 * num**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe_bounds(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Of the difference (-1..1) of two true shares, with 95 % confidence, from two independent samples.

    first, second: (num_hits, num > 0). Source: Newcombe, "Interval estimation for the difference between independent
    proportions" (1998), method 10: Wilson's intervals without continuity correction.
    """
    share, other = first[0] / first[1], second[0] / second[1]
    (low, high), (other_low, other_high) = wilson_bounds(*first), wilson_bounds(*second)
    below = math.hypot(share - low, other_high - other)
    above = math.hypot(high - share, other - other_low)
    return max(-1.0, share - other - below), min(1.0, share - other + above)
