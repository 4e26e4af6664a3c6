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
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths_B = pc.fill_null(pc.list_value_length(lists), size).to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(lengths_B != size)).size:
        row = int(wrong[0])
        raise ValueError(f"row {row} of {len(lists)} has {lengths_B[row]} numbers; {size} are expected")
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    if not lists.null_count:
        return np.asarray(values.reshape(len(lists), size))
    matrix_BF = np.full((len(lists), size), np.nan)
    matrix_BF[pc.is_valid(lists).to_numpy(zero_copy_only=False)] = values.reshape(-1, size)
    return matrix_BF


def features_of(inputs: pa.Table, spec: TaskSpec) -> np.ndarray:
    """The single vector input of a task as `features`, (B, F) float64. ValueError for a task with other inputs."""
    vector = spec.examples.short_input
    if vector is None:
        raise ValueError(f"task {spec.name!r} has typed inputs and no `features`")
    return matrix_of(inputs[vector.name], size=vector.size)
