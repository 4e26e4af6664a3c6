"""Rows as Parquet: what the files of the data components and of a dataset version look like."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from wire.printable import printable

ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("features", pa.list_(pa.float64())),
        ("label", pa.string()),
        ("labeler", pa.string()),
        ("labeled_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Dataset shards and `reference`: one row an example."""

INCOMING = pa.schema(
    [
        *ROWS,
        ("shard", pa.string()),
        ("split", pa.string()),
        ("known_label", pa.string()),
        ("known_twin_split", pa.string()),
    ]
)
"""`incoming`: one row an opinion. known_label: that of this id in the parent version, or null. known_twin_split: where
the parent version holds another id with exactly these features, or null."""

INDEX = pa.schema([("id_digest", pa.uint64()), ("features_digest", pa.uint64()), ("label", pa.string())])
"""What a version knows of its examples, by `core.labels.id_digest_of` and `features_digest_of`."""


def parquet_of(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> bytes:
    """The columns of a schema as one Parquet file. Digests are noise: dictionaries and statistics do not pay there."""
    buffer = io.BytesIO()
    table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)
    pq.write_table(table, buffer, compression="zstd", use_dictionary=["label"] if schema is INDEX else True)
    return buffer.getvalue()


def columns_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> dict[str, list[Any]]:
    """Rows turned on their side."""
    listed = list(rows)
    return {name: [row[name] for row in listed] for name in schema.names}


def as_rows(stored: pa.Table, schema: ExampleSchema, *, where: str) -> pa.Table:
    """Stored rows as the task file has them today: the columns of `rows_schema` that they have, in its order.

    An input that the task no longer has is left out; one that is new to it is null. DataRejected when an input or the
    label has another type by now.
    """
    inputs, wanted = inputs_table(stored, schema), schema.rows_schema
    try:
        fields = [
            _whole(inputs[field.name].cast(field.type))
            if field.name in inputs.column_names
            else pa.nulls(stored.num_rows, field.type)
            for field in schema.inputs_type
        ]
        columns: dict[str, Any] = {
            name: stored[name].cast(wanted.field(name).type)
            for name in wanted.names
            if name in stored.column_names and name != "inputs"
        }
    except (pa.ArrowException, NotImplementedError) as error:
        raise DataRejected(
            f"{where}: the rows do not fit the types of the task ({printable(str(error), chars_max=200)}). An input "
            "keeps its type. Give the changed task a new name, and push its labels there."
        ) from None
    columns["inputs"] = pa.StructArray.from_arrays(fields, fields=list(schema.inputs_type))
    return pa.table({name: columns[name] for name in wanted.names if name in columns})


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def with_features(rows: pa.Table, schema: ExampleSchema) -> pa.Table:
    """The columns id, features, label of rows of a task whose only input is a vector, however it is stored."""
    return pa.table({"id": rows["id"], "features": inputs_table(rows, schema)[0], "label": rows["label"]})


def table_of(data: bytes, *, where: str) -> pa.Table:
    """A Parquet file from memory; DataRejected when it is none."""
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{where}: not a Parquet file ({error}). Push it again under a new key.") from None
