"""Rows for training: from Parquet to tensors, and into batches that every worker agrees on.

Shape suffixes: B batch, F raw features, N rows; `...` whatever the task's network takes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import inputs_table
from ratchet.tasks.interface import Task
from ratchet.tasks.spec import TaskSpec
from ratchet.training.checks import check_inputs


def read_rows(path: Path, spec: TaskSpec) -> tuple[np.ndarray, np.ndarray]:
    """Raw features (N, F) float64 and class indices (N,) int64 of a file that `fetch_split` wrote; N may be 0."""
    table = pq.read_table(path)
    vectors = inputs_table(table, spec.examples)[0]
    index_of = {name: index for index, name in enumerate(spec.classes)}
    labels_N = np.array([index_of[label] for label in table["label"].to_pylist()], dtype=np.int64)
    features_NF = np.array(vectors.to_pylist(), dtype=np.float64).reshape(-1, spec.features.num_features)
    return features_NF, labels_N


def load_tensors(path: Path, spec: TaskSpec, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Preprocessed inputs (N, ...), finite, and class indices (N,)."""
    features_NF, labels_N = read_rows(path, spec)
    inputs = check_inputs(task.preprocess(features_NF), num_rows=len(labels_N), spec=spec)
    return inputs, torch.from_numpy(labels_N)


def batch_size_of(num_rows: int, *, batch_size: int, world_size: int) -> int:
    """The global batch: as asked, or all rows when there are fewer; always a multiple of the world size.

    DDP averages gradients over workers, so workers must see equally many rows for the mean to be the batch's.
    """
    size = min(batch_size, num_rows) // world_size * world_size
    if size == 0:
        raise DataRejected(f"{num_rows} training rows are too few for {world_size} workers. Push more labels.")
    return size


def batches_of(
    num_rows: int, *, epoch: int, seed: int, batch_size: int, rank: int, world_size: int
) -> Iterator[torch.Tensor]:
    """This worker's row indices, batch by batch. All workers draw one permutation; the incomplete rest waits for
    another epoch's permutation."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order_N = torch.randperm(num_rows, generator=generator)
    size = batch_size_of(num_rows, batch_size=batch_size, world_size=world_size)
    for start in range(0, num_rows - size + 1, size):
        yield order_N[start : start + size][rank::world_size]
