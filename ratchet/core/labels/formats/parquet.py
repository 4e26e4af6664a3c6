"""Parquet tables with columns of any names (`--map`), read within declared limits: a small file may expand to any size.
Pure."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.core.labels.formats.items import ImportOptions, LeftOut, ToolOpinion, UnreadableFile, WrongItem
from ratchet.core.labels.formats.rows import check_label_column, opinion_of_row
from wire.printable import listed, printable

ROWS_MAX = 1_000_000
EXPANDED_BYTES_MAX = 512 << 20
_BATCH_ROWS = 1_024
_BATCH_BYTES_MAX = 64 << 20
"""Of the values of one batch as Python objects, about: texts that a dictionary holds once are counted each time."""


def read_parquet(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    number = 0
    try:
        for batch in _opened(data, options).iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            _check_size(batch, number)
            for row in batch.to_pylist():
                number += 1
                yield opinion_of_row(_flat(row), f"row {number}", options)
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, OverflowError) as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"after row {number:,}: the file is damaged ({printable(str(error))})") from None


def _opened(data: bytes, options: ImportOptions) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        leaves = [file.schema.column(place) for place in range(len(file.schema.names))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        names = file.schema_arrow.names
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFile(f"not a Parquet file ({printable(str(error))})") from None
    footer = file.metadata
    expanded = sum(footer.row_group(place).total_byte_size for place in range(footer.num_row_groups))
    for found, limit, what in ((footer.num_rows, ROWS_MAX, "rows"), (expanded, EXPANDED_BYTES_MAX, "bytes unpacked")):
        if not 0 <= found <= limit:
            raise UnreadableFile(f"{found:,} {what}; the limit is {limit:,}. Import it in parts")
    missing = [column for column in options.columns if column not in names]
    if missing:
        raise UnreadableFile(f"no column {listed(missing)}, which `--map` names; it has {listed(names)}")
    try:
        check_label_column(names, options)
    except WrongItem as error:
        raise UnreadableFile(printable(str(error), chars_max=400)) from None
    return file


def _check_size(batch: pa.RecordBatch, number: int) -> None:
    num_bytes = sum(_num_bytes(column) for column in batch.columns)
    if num_bytes > _BATCH_BYTES_MAX:
        raise UnreadableFile(
            f"{batch.num_rows:,} rows after row {number:,} hold {num_bytes:,} bytes; the limit is {_BATCH_BYTES_MAX:,}"
        )


def _num_bytes(column: pa.Array) -> int:
    kind = column.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_num_bytes(column.field(place)) for place in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _num_bytes(column.flatten())
    return int(column.nbytes)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A struct `inputs`, as label shards have it, as fields of the row."""
    inputs = row.get("inputs")
    return {**row, **{f"inputs.{name}": value for name, value in inputs.items()}} if isinstance(inputs, dict) else row
