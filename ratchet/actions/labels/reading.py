"""From files and shards of labels to tables of opinions (`ExampleSchema.opinions_schema`)."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratchet.actions.labels.images import NO_SOURCE, ImageSource, read_images
from ratchet.core.errors import DataRejected, NotFound, SettingsError, Unavailable
from ratchet.core.labels.opinions import read_lines_as_table
from ratchet.core.labels.parsing import Row, parse_label_rows, parse_labels
from ratchet.core.labels.queue_marks import QUEUE_MARK
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from ratchet.core.lines import split_lines
from wire.printable import printable

OPINION_COLUMNS = ["id", "label", "labeler", "labeled_at", "corrects", QUEUE_MARK]
_CHUNK_ROWS = 4_096
"""Rows that are Python objects at a time, where a file has to be read line by line."""


def read_shard(key: str, data: bytes, *, schema: ExampleSchema, images: ImageSource = NO_SOURCE) -> pa.Table:
    """Every opinion of a stored shard; DataRejected names the shard, the line and the reason. No file, however odd,
    stops those that wait beside it; a store of pictures that does not answer is no fault of a file (Unavailable)."""
    try:
        return _read_shard(key, data, schema, images)
    except (DataRejected, SettingsError, Unavailable):
        raise
    except Exception as error:
        found = printable(f"{type(error).__name__}: {error}")
        raise DataRejected(f"{key}: cannot be read ({found}). Write it again and push it under a new key.") from error


def _read_shard(key: str, data: bytes, schema: ExampleSchema, images: ImageSource) -> pa.Table:
    if len(data) > SHARD_BYTES_MAX:
        raise DataRejected(f"{key}: {len(data):,} bytes; the limit is {SHARD_BYTES_MAX:,}. Push it in parts.")
    if key.endswith(".parquet"):
        from ratchet.adapters.parquet_shard import read_parquet_table

        table = read_parquet_table(data, schema, where=key)
    else:
        table = read_lines_as_table(data, schema)
    return table if table is not None else _table_of(iter_opinions(data, key, schema=schema), schema, images)


def iter_opinions(
    data: bytes, where: str, *, schema: ExampleSchema, defaults: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Row]]:
    """(place, opinion) one by one, of JSONL or of Parquet as the end of the name says."""
    if where.endswith(".parquet"):
        from ratchet.adapters.parquet_shard import iter_parquet_rows

        rows = iter_parquet_rows(data, schema, where=where)
        return parse_label_rows(rows, schema=schema, where=where, defaults=defaults)
    return parse_labels(split_lines(data), schema=schema, where=where, defaults=defaults)


def _table_of(opinions: Iterable[tuple[str, Row]], schema: ExampleSchema, images: ImageSource) -> pa.Table:
    waiting = read_images(opinions, schema, images)
    tables = []
    while some := [{**row, "inputs": inputs} for _, row, inputs in islice(waiting, _CHUNK_ROWS)]:
        tables.append(pa.Table.from_pylist(some, schema=schema.opinions_schema))
    return pa.concat_tables(tables)


def read_opinions(key: str, data: bytes, *, schema: ExampleSchema) -> pa.Table:
    """`OPINION_COLUMNS` of every opinion of a stored shard; pictures are never fetched. DataRejected as
    of `read_shard`."""
    if not any(schema.of_type("image")):
        return read_shard(key, data, schema=schema).select(OPINION_COLUMNS)
    rows = [{name: row[name] for name in OPINION_COLUMNS} for _, row in iter_opinions(data, key, schema=schema)]
    return pa.Table.from_pylist(rows, schema=opinion_columns(schema))


def opinion_columns(schema: ExampleSchema) -> pa.Schema:
    """`OPINION_COLUMNS` with their types."""
    return pa.schema([schema.opinions_schema.field(name) for name in OPINION_COLUMNS])


def read_label_file(path: Path) -> bytes:
    """A person's file of labels, whole."""
    try:
        return _checked_size(path).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist. Name a JSONL or Parquet file of labels.") from None
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable JSONL or Parquet file of labels.") from None


def _checked_size(path: Path) -> Path:
    size_bytes = path.stat().st_size
    if size_bytes > SHARD_BYTES_MAX:
        raise DataRejected(f"{path}: {size_bytes:,} bytes; the limit is {SHARD_BYTES_MAX:,}. Split it (`split -l`).")
    return path
