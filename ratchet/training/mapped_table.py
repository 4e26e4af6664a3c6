"""A table that is too large for memory lies in a file that is mapped, as `mapped.py` has it of tensors; no torch is
needed for it.
"""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAPPED_BYTES_MIN = 32 * 2**20
"""Rows that take less stay in memory, where most tasks have them: a file is written and read once more for nothing."""
_ROWS_AT_ONCE = 65_536


def read_table(path: Path) -> pa.Table:
    """A Parquet file; the columns of a large one are mapped, a chunk for each `_ROWS_AT_ONCE` rows."""
    file = pq.ParquetFile(path)
    if _size_of(file.metadata) < MAPPED_BYTES_MIN:
        return pq.read_table(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".arrow") as target:
        with pa.ipc.new_stream(target, file.schema_arrow) as stream:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                stream.write_batch(batch)
        target.flush()
        return pa.ipc.open_stream(pa.memory_map(target.name)).read_all()


def _size_of(metadata: pq.FileMetaData) -> int:
    """Bytes of a table in memory, about: Parquet has less of columns with few values, and knows the length of texts."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return max(sum(group.total_byte_size for group in groups), metadata.num_rows * metadata.num_columns * 8)
