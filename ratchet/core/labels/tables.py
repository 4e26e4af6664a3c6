"""Rows as Parquet: what the files of the data components and of a dataset version look like."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.errors import DataRejected
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from wire.printable import printable


def incoming_schema(schema: ExampleSchema) -> pa.Schema:
    """`incoming`: one row an opinion. known_label: that of this id in the parent version, or null. known_twin_split:
    where the parent version holds another id with exactly these inputs, or null."""
    return pa.schema(
        [
            *schema.opinions_schema,
            pa.field("shard", pa.string()),
            pa.field("split", pa.string()),
            pa.field("known_label", schema.label_type),
            pa.field("known_twin_split", pa.string()),
        ]
    )


INDEX = pa.schema([("id_digest", pa.uint64()), ("features_digest", pa.uint64()), ("label", pa.string())])
"""What a version knows of its examples: `digests.id_digests`, `digests.inputs_digests`, `label_values.index_texts`."""


_REPEATED = ("label", "labeler", "shard", "split", "known_label", "known_twin_split")
"""Columns of few values."""


def parquet_of(rows: pa.Table, *, compression: str = "zstd") -> bytes:
    """Rows as one Parquet file. Dictionaries pay for columns of few values alone; of numbers they double the time."""
    buffer = io.BytesIO()
    with parquet_writer(buffer, rows.schema, compression=compression) as writer:
        writer.write_table(rows)
    return buffer.getvalue()


def parquet_writer(where: str | io.BytesIO, schema: pa.Schema, *, compression: str) -> pq.ParquetWriter:
    """Of files as `parquet_of` makes them, in as many pieces as the caller likes."""
    return pq.ParquetWriter(where, schema, compression=compression, use_dictionary=_dictionaries_of(schema))


def _dictionaries_of(schema: pa.Schema) -> list[str]:
    names = [name for name in schema.names if name in _REPEATED and pa.types.is_string(schema.field(name).type)]
    inputs = schema.field("inputs").type if "inputs" in schema.names else ()
    return names + [f"inputs.{field.name}" for field in inputs if pa.types.is_string(field.type)]


def as_rows(stored: pa.Table, schema: ExampleSchema, *, where: str) -> pa.Table:
    """Stored rows as the task file has them today: the columns of `rows_schema` that they have, in its order.

    An input that the task no longer has is left out; one that is new to it is null. DataRejected when an input or the
    label has another type by now.
    """
    inputs, wanted = inputs_table(stored, schema), schema.rows_schema
    try:
        fields = [
            whole_column(inputs[field.name].cast(field.type))
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


def with_features(rows: pa.Table, schema: ExampleSchema) -> pa.Table:
    """The columns id, features, label of rows of a task whose only input is a vector, however it is stored."""
    return pa.table({"id": rows["id"], "features": inputs_table(rows, schema)[0], "label": rows["label"]})


def table_of(data: bytes, *, where: str) -> pa.Table:
    """A Parquet file from memory; DataRejected when it is none."""
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{where}: not a Parquet file ({error}). Push it again under a new key.") from None
