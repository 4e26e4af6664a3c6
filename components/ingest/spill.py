"""The inputs of a batch on disk: memory is bounded by a shard, however large the batch is."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc

_BATCH_ROWS, _BATCH_BYTES = 65_536, 16 << 20
"""What is in memory while rows come and go."""
_TAKEN_BYTES = 64 << 20
"""Of the rows that one pass over the file collects."""


class Spill:
    """Rows in the order in which they were added, in one Arrow file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer = pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
        self._waiting: list[pa.Table] = []
        self._starts = [0]
        self._num_bytes = 0

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        if _is_enough(self._waiting):
            self._flush()

    def close(self) -> None:
        """Nothing is added after it, nothing read before."""
        self._flush()
        self._writer.close()

    def __iter__(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Each batch with the number of its first row."""
        return self._read(np.arange(self._starts[-1]))

    def parts(self, parts: Sequence[np.ndarray]) -> Iterator[pa.Table]:
        """The rows of each part, by their numbers and in that order. Costs a pass over the file for every 64 MiB."""
        row_bytes = self._num_bytes / max(1, self._starts[-1])
        group: list[np.ndarray] = []
        for part in parts:
            if group and sum(map(len, [*group, part])) * row_bytes > _TAKEN_BYTES:
                yield from self._taken(group)
                group = []
            group.append(part)
        yield from self._taken(group)

    def _taken(self, parts: Sequence[np.ndarray]) -> Iterator[pa.Table]:
        orders = [np.argsort(part, kind="stable") for part in parts]
        rising = [part[order] for part, order in zip(parts, orders, strict=True)]
        pieces: list[list[pa.RecordBatch]] = [[] for _ in parts]
        for start, batch in self._read(np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))):
            for rows, found in zip(rising, pieces, strict=True):
                low, high = np.searchsorted(rows, [start, start + batch.num_rows])
                if low < high:
                    found.append(batch.take(pa.array(rows[low:high] - start)))
        for order, found in zip(orders, pieces, strict=True):
            back = np.empty(len(order), dtype=np.int64)
            back[order] = np.arange(len(order))
            yield pa.Table.from_batches(found, schema=self._schema).combine_chunks().take(pa.array(back))
            found.clear()

    def _read(self, rising: np.ndarray) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The batches that hold any of these rows."""
        places = np.searchsorted(rising, self._starts)
        with pa.OSFile(str(self._path)) as source, pa.ipc.open_file(source) as file:
            for number in np.flatnonzero(np.diff(places)).tolist():
                yield self._starts[number], file.get_batch(number)

    def _flush(self) -> None:
        if not self._waiting:
            return
        whole = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting = []
        row_bytes = max(1, whole.nbytes // max(1, whole.num_rows))
        for batch in whole.to_batches(max_chunksize=max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes))):
            self._writer.write_batch(batch)
            self._starts.append(self._starts[-1] + batch.num_rows)
            self._num_bytes += batch.nbytes


def _is_enough(tables: Sequence[pa.Table]) -> bool:
    return (
        sum(table.num_rows for table in tables) >= _BATCH_ROWS or sum(table.nbytes for table in tables) >= _BATCH_BYTES
    )
