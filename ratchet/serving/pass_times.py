"""How long one pass of a model takes by the number of its rows, learned of the passes so far. Pure.

A pass takes a time of its own and a time for each row: small models are nearly all the former, large ones the latter.
"""

import math
from collections.abc import Sequence

_WEIGHT = 0.1
"""Of the latest pass: some twenty passes tell of a change, and a pause of the machine is forgotten as soon."""
_JUMP_MAX = 4.0
"""A pass that takes more than so many times the mean counts as if it took that: it waited for something else."""
_ROWS_FEW = 4
"""Up to here a pass tells of the time of its own, above it of the time for a row."""


class PassTimes:
    """Of one model. Before the first pass nothing is known, so the first is alone."""

    def __init__(self) -> None:
        self._own_s = math.inf
        self._row_s = 0.0

    def expected_s(self, num_rows: int) -> float:
        return self._own_s + num_rows * self._row_s

    def learn(self, num_rows: int, took_s: float) -> None:
        expected_s = self.expected_s(num_rows)
        took_s = min(took_s, _JUMP_MAX * expected_s)
        if math.isinf(expected_s):
            self._own_s = took_s
        elif num_rows <= _ROWS_FEW:
            self._own_s += _WEIGHT * (took_s - self._own_s)
        else:
            row_s = max(0.0, took_s - self._own_s) / num_rows
            self._row_s += _WEIGHT * (row_s - self._row_s)

    def num_within(self, rows: Sequence[int], budget_s: float) -> int:
        """How many of the requests that wait, first come first, one pass may answer within the budget; at least 1."""
        total, num = rows[0], 1
        for each in rows[1:]:
            total += each
            if self.expected_s(total) > budget_s:
                break
            num += 1
        return num
