"""Rows of a split as the learners, the gate and the checks take them; no torch is needed for that.

Shape suffixes: K classes, N rows.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import inputs_table
from ratchet.tasks.spec import TaskSpec
from ratchet.training.mapped_table import read_table


def read_split(path: Path, spec: TaskSpec) -> tuple[pa.Table, pa.ChunkedArray]:
    """Inputs (a column for each, by name) and labels of a file that `fetch_split` wrote; it may have no rows."""
    table = read_table(path)
    return _inputs_of(table, spec), table["label"]


def _inputs_of(table: pa.Table, spec: TaskSpec) -> pa.Table:
    """As `inputs_table`, which makes one piece of the chunks of a mapped table, in memory."""
    if "inputs" not in table.column_names or table["inputs"].num_chunks < 2:
        return inputs_table(table, spec.examples)
    column = table["inputs"]
    named = {
        each.name: pa.chunked_array([chunk.field(each.name) for chunk in column.chunks], each.type)
        for each in column.type
    }
    return pa.table(named, schema=pa.schema(list(column.type)))


def labels_of(labels: pa.ChunkedArray, spec: TaskSpec) -> np.ndarray:
    """As losses and metrics take them: class indices (N,) int64, numbers (N,) float32, or a 1 for each tag of a row,
    (N, K) float32. DataRejected for a category that is no class of the task; such a tag is left out."""
    array = labels.combine_chunks()
    if spec.output.type == "number":
        return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float32)
    names = array.flatten() if spec.output.type == "tags" else array
    places = pc.fill_null(pc.index_in(names.cast(pa.string()), value_set=pa.array(spec.classes, pa.string())), -1)
    found = np.asarray(places.to_numpy(zero_copy_only=False), dtype=np.int64)
    if spec.output.type == "category":
        if (found < 0).any():
            name = names[int(np.flatnonzero(found < 0)[0])].as_py()
            raise DataRejected(
                f"the label {name!r} is no class of the task {spec.name!r}: {', '.join(spec.classes[:20])}"
            )
        return found
    lengths_N = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(array)), lengths_N)
    is_set_NK = np.zeros((len(array), len(spec.classes)), dtype=np.float32)
    is_set_NK[rows[found >= 0], found[found >= 0]] = 1
    return is_set_NK


def labelled(inputs: pa.Table, labels: pa.ChunkedArray, spec: TaskSpec) -> pa.Table:
    """What `fit` takes: the inputs, and the label by the name of the output."""
    return inputs.append_column(spec.output.name, labels)
