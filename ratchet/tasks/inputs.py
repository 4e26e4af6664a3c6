"""Between an inputs table and `features`, the short form of a single vector. Shapes: B rows, F numbers of a vector."""

import numpy as np
import pyarrow as pa

from ratchet.tasks.kinds.columns import matrix_of
from ratchet.tasks.spec import TaskSpec


def features_of(inputs: pa.Table, spec: TaskSpec) -> np.ndarray:
    """The single vector input of a task as `features`, (B, F) float64. ValueError for a task with other inputs."""
    vector = spec.examples.short_input
    if vector is None:
        raise ValueError(f"task {spec.name!r} has typed inputs and no `features`")
    # A copy: Arrow's memory cannot be written to, and a task's preprocessing may work in place.
    return matrix_of(inputs[vector.name], size=vector.size).copy()


def table_of_features(features_BF: np.ndarray, spec: TaskSpec) -> pa.Table:
    """The other way round. ValueError for a task with other inputs than one vector."""
    vector = spec.examples.short_input
    if vector is None:
        raise ValueError(f"task {spec.name!r} has typed inputs and no `features`")
    values = np.ascontiguousarray(features_BF, dtype=np.float64)
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1])
    return pa.table({vector.name: pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))})
