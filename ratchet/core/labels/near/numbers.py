"""Numbers that are nearly the same: written out and read again, rounded, of half the precision. Pure.

Shape suffixes: N rows, F numbers of a row.
"""

from collections.abc import Iterator

import numpy as np

STEP = 1e-3
"""Two numbers are near when they differ by no more than this part of the middle half of the column's values."""
_SAMPLE = 5_000
NUM_GRIDS = 2
"""Shifted by half a step: two near numbers at a border of one grid are not at a border of the other."""
_BASE = np.uint64(0x9E3779B97F4A7C15)


def steps_of(numbers_NF: np.ndarray) -> np.ndarray:
    """(F,) float64: the step of each column; 0 where most values are one, and only equal numbers are near."""
    some = numbers_NF[:: len(numbers_NF) // _SAMPLE + 1]
    steps_F = np.zeros(numbers_NF.shape[1])
    for column, values in enumerate(some.T):
        finite = values[np.isfinite(values)]
        if len(finite):
            low, first, third, high = np.quantile(finite, [0.05, 0.25, 0.75, 0.95])
            steps_F[column] = STEP * ((third - first) or (high - low))
    return np.where(np.isfinite(steps_F), steps_F, 0.0)


def grid_keys(numbers_NF: np.ndarray, steps_F: np.ndarray) -> np.ndarray:
    """(N, grids) uint64. Rows that share one of the keys are near: every number differs by less than a step, or is
    missing in both. Of near rows one in hundreds shares none, at borders of both grids."""
    keys = np.zeros((len(numbers_NF), NUM_GRIDS), dtype=np.uint64)
    for column, values in _gridded(numbers_NF, steps_F):
        for grid in range(NUM_GRIDS):
            cells_N = np.floor(values + grid / NUM_GRIDS) if steps_F[column] else values
            # What is missing is one value, whichever NaN it is.
            words_N = np.where(np.isnan(cells_N), np.nan, cells_N + 0.0).view(np.uint64)
            keys[:, grid] = (keys[:, grid] ^ (words_N ^ (words_N >> np.uint64(29)))) * _BASE
            keys[:, grid] ^= keys[:, grid] >> np.uint64(31)
    return keys


def cells_of(numbers_NF: np.ndarray, steps_F: np.ndarray) -> np.ndarray:
    """(N, F) float64: the cell of the first grid that each number is in."""
    cells_NF = np.array(numbers_NF)
    for column, values in _gridded(numbers_NF, steps_F):
        cells_NF[:, column] = np.floor(values) if steps_F[column] else values
    return cells_NF


def _gridded(numbers_NF: np.ndarray, steps_F: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    with np.errstate(invalid="ignore", over="ignore"):
        for column, step in enumerate(steps_F):
            yield column, np.ascontiguousarray(numbers_NF[:, column] / step if step else numbers_NF[:, column])
