"""From the columns of an inputs table to NumPy: what encoders and classes of the old interface read.

Shape suffixes: B rows, F numbers of a vector.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.tasks.spec import TaskSpec


def matrix_of(column: pa.ChunkedArray | pa.Array, *, size: int) -> np.ndarray:
    """A column of vectors as (B, F) float64; a missing vector is a row of NaN. ValueError names the first row that has
    another number of numbers."""
    lists = _one_array(column)
    # Few calls, and none of pyarrow.compute: beside a small network each costs what a single request notices.
    offsets = lists.offsets.to_numpy()
    if lists.null_count:
        return _matrix_with_missing(lists, size=size)
    if offsets[-1] - offsets[0] != len(lists) * size or (len(lists) > 1 and (np.diff(offsets) != size).any()):
        raise _wrong_length(np.diff(offsets), size)
    values = lists.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    return np.asarray(values.astype(np.float64, copy=False).reshape(len(lists), size))


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.ListArray:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _matrix_with_missing(lists: pa.ListArray, *, size: int) -> np.ndarray:
    is_present_B = pc.is_valid(lists).to_numpy(zero_copy_only=False)
    lengths_B = pc.fill_null(pc.list_value_length(lists), size).to_numpy(zero_copy_only=False)
    if (lengths_B != size).any():
        raise _wrong_length(lengths_B, size)
    matrix_BF = np.full((len(lists), size), np.nan)
    matrix_BF[is_present_B] = pc.list_flatten(lists).to_numpy(zero_copy_only=False).reshape(-1, size)
    return matrix_BF


def _wrong_length(lengths_B: np.ndarray, size: int) -> ValueError:
    row = int(np.flatnonzero(lengths_B != size)[0])
    return ValueError(f"row {row} of {len(lengths_B)} has {lengths_B[row]} numbers; {size} are expected")


def features_of(inputs: pa.Table, spec: TaskSpec) -> np.ndarray:
    """The single vector input of a task as `features`, (B, F) float64. ValueError for a task with other inputs."""
    vector = spec.examples.short_input
    if vector is None:
        raise ValueError(f"task {spec.name!r} has typed inputs and no `features`")
    # A copy: Arrow's memory cannot be written to, and a task's preprocessing may work in place.
    return matrix_of(inputs[vector.name], size=vector.size).copy()
