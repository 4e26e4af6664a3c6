"""Parquet label shards of other tools, read within declared limits: a small file may expand to any size."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.errors import DataRejected
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from wire.printable import printable

ROWS_MAX = 1_000_000
VALUES_MAX = SHARD_BYTES_MAX // 8
"""Numbers in all rows together: as float64 they are as large as the largest shard."""
TEXT_BYTES_MAX = 4_096
"""Of one text in UTF-8: 256 characters, and what escapes them. An URI has no more than that either."""
_BATCH_ROWS = 4_096
_TEXTS = ("id", "label", "labeler", "uri")
_FIELDS = (*_TEXTS, "features", "labeled_at")
_NEXT_STEP = "Write the file again and push it under a new key: a shard that has landed never changes."


def iter_parquet_rows(data: bytes, *, where: str) -> Iterator[Mapping[str, Any]]:
    """Row by row, without nulls; DataRejected when it is no Parquet file of labels or goes beyond the limits."""
    file = _opened(data, where=where)
    _check_columns(file, where=where)
    _check_size(file, where=where)
    num_values = 0
    for batch in _batches(file, where=where):
        num_values += _num_numbers(batch)
        if num_values > VALUES_MAX:
            raise DataRejected(f"{where}: more numbers than the limit of {VALUES_MAX:,}. Push it in parts.")
        _check_texts(batch, where=where)
        for row in _as_rows(batch, where=where):
            yield {name: value for name, value in row.items() if value is not None}


def read_parquet_fields(data: bytes) -> tuple[int, list[tuple[object, object]] | None]:
    """How many rows it says it has, and (label, labeler) of each; None where these cannot be read.

    DataRejected when it is no Parquet file or claims more than a shard may hold.
    """
    file = _opened(data, where="the shard")
    _check_size(file, where="the shard")
    num_rows: int = file.metadata.num_rows
    if not {"label", "labeler"} <= set(file.schema_arrow.names):
        return num_rows, None
    pairs: list[tuple[object, object]] = []
    try:
        for batch in _batches(file, where="the shard", columns=["label", "labeler"]):
            _check_texts(batch, where="the shard")
            pairs += zip(batch.column("label").to_pylist(), batch.column("labeler").to_pylist(), strict=True)
    except (DataRejected, UnicodeDecodeError, pa.ArrowException):
        return num_rows, None
    return num_rows, pairs


def _opened(data: bytes, *, where: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        schema = file.schema_arrow
        texts = [name for name in _TEXTS if name in schema.names and not pa.types.is_nested(schema.field(name).type)]
        # As dictionaries, a text that fills a million rows is in memory once.
        return pq.ParquetFile(io.BytesIO(data), read_dictionary=texts)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataRejected(f"{where}: not a Parquet file ({printable(str(error))}). {_NEXT_STEP}") from None


def _check_columns(file: pq.ParquetFile, *, where: str) -> None:
    for name in file.schema_arrow.names:
        if name not in _FIELDS:
            raise DataRejected(
                f"{where}: column `{printable(name, chars_max=60)}` is not a field of a label; the fields are "
                f"{', '.join(_FIELDS)}. {_NEXT_STEP}"
            )
    for name in file.schema_arrow.names:
        kind = file.schema_arrow.field(name).type
        if name == "features" and not _is_list_of_numbers(kind):
            found = printable(str(kind), chars_max=60)
            raise DataRejected(f"{where}: column `features` must be a list of numbers, found {found}. {_NEXT_STEP}")
        if name != "features" and pa.types.is_nested(kind):
            raise DataRejected(f"{where}: column `{name}` must be one value a row, found {kind!s:.60}. {_NEXT_STEP}")


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    return bool(pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))


def _check_size(file: pq.ParquetFile, *, where: str) -> None:
    """By the footer, before anything is read. Encodings may pack further, so values are counted, not their bytes."""
    footer = file.metadata
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    sizes = {
        "rows": (footer.num_rows, ROWS_MAX),
        "values in one column": (_largest_column(groups), VALUES_MAX),
        "bytes uncompressed": (sum(column.total_uncompressed_size for column in columns), 2 * SHARD_BYTES_MAX),
    }
    for what, (found, limit) in sizes.items():
        if not 0 <= found <= limit:
            raise DataRejected(f"{where}: {found:,} {what}; the limit is {limit:,}. Push it in parts.")


def _largest_column(groups: list[Any]) -> int:
    num_columns = max((group.num_columns for group in groups), default=0)
    return max(
        (sum(group.column(index).num_values for group in groups) for index in range(num_columns)),
        default=0,
    )


def _batches(file: pq.ParquetFile, *, where: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    num_rows = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False):
            num_rows += batch.num_rows
            if num_rows > ROWS_MAX:
                raise DataRejected(f"{where}: more rows than the limit of {ROWS_MAX:,}. Push it in parts.")
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{where}: the file is damaged ({printable(str(error))}). {_NEXT_STEP}") from None


def _num_numbers(batch: pa.RecordBatch) -> int:
    if "features" not in batch.schema.names:
        return 0
    return len(batch.column("features").flatten())


def _check_texts(batch: pa.RecordBatch, *, where: str) -> None:
    import pyarrow.compute as pc

    for name in _TEXTS:
        if name not in batch.schema.names:
            continue
        column = batch.column(name)
        texts = column.dictionary if pa.types.is_dictionary(column.type) else column
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)) or not len(texts):
            continue
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if longest > TEXT_BYTES_MAX:
            raise DataRejected(
                f"{where}: a text in `{name}` has {longest:,} bytes; the limit is {TEXT_BYTES_MAX:,}. {_NEXT_STEP}"
            )


def _as_rows(batch: pa.RecordBatch, *, where: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DataRejected(f"{where}: a row cannot be read ({printable(str(error))}). {_NEXT_STEP}") from None
    return rows
