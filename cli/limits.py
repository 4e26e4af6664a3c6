"""Bounds of numbers that people give: within them no arithmetic of times and lists fails."""

import math

import typer

HOURS_MAX = 87_600.0
"""Ten years back."""
TIMEOUT_S_MAX = 2_592_000.0
"""Thirty days."""
LIMIT_MAX = 10_000
"""Rows of a list."""
LINES_MAX = 1_000_000


def check_finite(value: float | None) -> float | None:
    """For typer: `nan` passes every minimum and maximum."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number")
    return value
