"""The interval of a share. Pure."""

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
