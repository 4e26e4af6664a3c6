"""The files that `ingest` hands on, read in parts: a batch of pictures need not fit into memory."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.labels.schema import ExampleSchema, ImageInput

PART_BYTES, _PART_ROWS = 8 << 20, 65_536
"""Of pixels that are in memory at once."""


def read_parts(path: str, schema: ExampleSchema, *, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a file, with at most `PART_BYTES` of pixels a part; of an empty file one part. columns: None for
    all."""
    pixels = sum(each.num_bytes for each in schema.inputs if isinstance(each, ImageInput))
    at_once = max(1, min(_PART_ROWS, PART_BYTES // max(1, pixels)))
    # With a buffer ahead Arrow would hold all row groups that are asked for, compressed.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        if not file.metadata.num_rows:
            yield file.read(columns)
        for batch in file.iter_batches(batch_size=at_once, columns=columns):
            yield pa.Table.from_batches([batch])


def read_some(path: str, schema: ExampleSchema, rows_n: np.ndarray, *, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These rows of a file, part by part. rows_n: their numbers, rising."""
    start = 0
    for part in read_parts(path, schema, columns=columns):
        low, high = np.searchsorted(rows_n, [start, start + part.num_rows])
        if low < high:
            yield part.take(pa.array(rows_n[low:high] - start))
        start += part.num_rows
