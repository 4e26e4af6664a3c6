"""Rows for training: from Parquet to tensors, and into batches that every worker agrees on.

Shape suffixes: B batch, K classes, N rows; `...` whatever the task's network takes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch

from ratchet.core.errors import DataRejected
from ratchet.tasks.bound import TorchTask
from ratchet.training.checks import check_inputs
from ratchet.training.mapped import encode_in_parts, parts_of
from ratchet.training.mapped_table import MAPPED_BYTES_MIN
from ratchet.training.split_rows import labels_of, read_split


def load_tensors(path: Path, task: TorchTask) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded inputs (N, ...), finite, and labels as `labels_of`."""
    inputs, labels = read_split(path, task.spec)
    encoded = _encode(task, inputs, path.parent) if inputs.nbytes >= MAPPED_BYTES_MIN else None
    if encoded is None:
        encoded = check_inputs(task.encode(inputs), num_rows=len(labels), where=task.encode_name)
    return encoded, torch.from_numpy(labels_of(labels, task.spec))


def _encode(task: TorchTask, inputs: pa.Table, folder: Path) -> torch.Tensor | None:
    """In a mapped file, a part after the other, as models answer; None of rows that differ in shape."""

    def encode(part: slice) -> torch.Tensor:
        rows = inputs.slice(part.start, part.stop - part.start)
        return check_inputs(task.encode(rows), num_rows=len(rows), where=task.encode_name, first=part.start)

    return encode_in_parts(encode, parts_of(inputs.num_rows, inputs.nbytes), folder)


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
