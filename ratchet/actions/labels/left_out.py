"""Rows that no training may see, because they are pinned cases: taken out of the file that `fetch_split` wrote.

Beside the model it is noted which rows these were, by their number and not by their id, so that a repetition of the
training leaves out the same ones and an erased id stays nowhere.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from ratchet.actions.labels.rows import SplitRows
from ratchet.core.errors import DataRejected
from ratchet.core.labels.shards import Split

LEFT_OUT_FILE = "left_out.json"
"""In a model's folder, beside its digest."""


class LeftOutRows(BaseModel):
    """Numbers of rows, from 0, in the order in which the dataset version has them, by split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Mapping[Split, tuple[int, ...]] = {}

    @property
    def num_rows(self) -> int:
        return sum(map(len, self.rows.values()))


NONE_LEFT_OUT = LeftOutRows()


class Pinned(NamedTuple):
    """What is left out: examples of these ids, and the rows that were left out of a training that is repeated."""

    ids: Collection[str] = ()
    before: LeftOutRows = NONE_LEFT_OUT


NOT_PINNED = Pinned()


def leave_out_pinned(path: Path, rows: SplitRows, split: Split, pinned: Pinned) -> tuple[SplitRows, tuple[int, ...]]:
    """Rewrite the file without them; gives what is in it then, and the numbers of those left out."""
    before = pinned.before.rows.get(split, ())
    if not pinned.ids and not before:
        return rows, ()
    numbers = sorted({*before, *numbers_of(path, pinned.ids)})
    if numbers and numbers[-1] >= rows.num_rows:
        raise DataRejected(
            f"{LEFT_OUT_FILE} names row {numbers[-1]} of the split {split}, which has {rows.num_rows} rows: the "
            "dataset version has changed since the training."
        )
    if not numbers:
        return rows, ()
    is_kept_N = np.ones(rows.num_rows, dtype=bool)
    is_kept_N[numbers] = False
    keep_rows(path, is_kept_N)
    num_by_shard, start = {}, 0
    for shard, num in rows.num_by_shard.items():
        num_by_shard[shard] = int(is_kept_N[start : start + num].sum())
        start += num
    return rows._replace(num_rows=int(is_kept_N.sum()), num_by_shard=num_by_shard), tuple(numbers)


def numbers_of(path: Path, ids: Collection[str]) -> list[int]:
    """Rows of these examples in a file that `fetch_split` wrote."""
    if not ids:
        return []
    found = pc.is_in(pq.read_table(path, columns=["id"])["id"], value_set=pa.array(sorted(ids), pa.string()))
    numbers: list[int] = np.flatnonzero(found.to_numpy()).tolist()
    return numbers


def keep_rows(path: Path, is_kept_N: np.ndarray) -> None:
    """Rewrite a Parquet file with these rows alone, some at a time."""
    kept, start = path.with_suffix(".kept"), 0
    with pq.ParquetFile(path) as file, pq.ParquetWriter(kept, file.schema_arrow) as writer:
        for batch in file.iter_batches():
            rows = batch.filter(pa.array(is_kept_N[start : start + batch.num_rows]))
            writer.write_batch(rows)
            start += batch.num_rows
    kept.rename(path)


def read_left_out(model_path: Path) -> LeftOutRows:
    """Of a model's folder; nothing where none were."""
    path = model_path / LEFT_OUT_FILE
    try:
        return LeftOutRows.model_validate_json(path.read_bytes()) if path.exists() else NONE_LEFT_OUT
    except ValueError as error:
        raise DataRejected(f"{path} cannot be read: {error}. Restore the model's files from a backup.") from None
