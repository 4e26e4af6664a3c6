"""Rows for training: from Parquet to tensors, and into batches that every worker agrees on.

Shape suffixes: B batch, K classes, N rows; `...` whatever the task's network takes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import inputs_table
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.spec import TaskSpec
from ratchet.training.checks import check_inputs


def read_split(path: Path, spec: TaskSpec) -> tuple[pa.Table, pa.ChunkedArray]:
    """Inputs (a column for each, by name) and labels of a file that `fetch_split` wrote; it may have no rows."""
    table = pq.read_table(path)
    return inputs_table(table, spec.examples), table["label"]


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


def load_tensors(path: Path, task: TorchTask) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded inputs (N, ...), finite, and labels as `labels_of`."""
    inputs, labels = read_split(path, task.spec)
    encoded = check_inputs(task.encode(inputs), num_rows=len(labels), where=task.encode_name)
    return encoded, torch.from_numpy(labels_of(labels, task.spec))


def labelled(inputs: pa.Table, labels: pa.ChunkedArray, spec: TaskSpec) -> pa.Table:
    """What `fit` takes: the inputs, and the label by the name of the output."""
    return inputs.append_column(spec.output.name, labels)


class StepBatch(NamedTuple):
    """What one worker has of a step's batch."""

    rows: torch.Tensor
    """Indices of its own rows, (B,)."""
    num_rows: int
    """Of all workers together."""


def num_batches_of(num_rows: int, *, batch_size: int, world_size: int) -> int:
    """Steps of an epoch: as many as make batches nearest to the size asked for, each with a row for every worker."""
    if num_rows < world_size:
        raise DataRejected(f"{num_rows} training rows are too few for {world_size} workers. Push more labels.")
    return max(1, min(round(num_rows / batch_size), num_rows // world_size))


def seed_of_epoch(seed: int, *, epoch: int) -> int:
    """No two epochs share one, and no two seeds either: a training has fewer than 100,003 epochs."""
    return seed * 100_003 + epoch


def batches_of(
    num_rows: int, *, epoch: int, seed: int, batch_size: int, rank: int, world_size: int
) -> Iterator[StepBatch]:
    """An epoch: every row once, in an order that (seed, epoch) decides alone, whatever the number of workers.

    The rows are divided evenly: sizes of batches differ by one at most, so there is no small batch at the end, in which
    a row would weigh more and batch normalization would have too little to measure.
    """
    generator = torch.Generator().manual_seed(seed_of_epoch(seed, epoch=epoch))
    order_N = torch.randperm(num_rows, generator=generator)
    for batch in order_N.tensor_split(num_batches_of(num_rows, batch_size=batch_size, world_size=world_size)):
        yield StepBatch(batch[rank::world_size], len(batch))
