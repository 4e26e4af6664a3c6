"""What was asked in production as a table of the task's inputs, as far as the payload log keeps it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.sketching import sketch_columns
from ratchet.core.labels.drift.tables import TableSketch
from ratchet.core.labels.schema import CategoryInput, ExampleSchema, ImageInput, InputSpec, VectorInput, arrow_type_of
from ratchet.core.rollout.monitor import ServedRow


def comparable_schema(schema: ExampleSchema) -> ExampleSchema | None:
    """Without images, of which the payload log keeps no pixels; None when nothing is left."""
    kept = tuple(declared for declared in schema.inputs if not isinstance(declared, ImageInput))
    return schema.model_copy(update={"inputs": kept}) if kept else None


def sketch_served(rows: Sequence[ServedRow], schema: ExampleSchema) -> TableSketch:
    """The sketch of rows that were served, 10,000 at most; the answers are in the place of labels. A value that the
    task no longer takes counts as missing."""
    inputs: list[Mapping[str, Any]] = [_inputs_of(row, schema) for row in rows]
    columns = {declared.name: _column_of(inputs, declared) for declared in schema.inputs}
    labels = pa.chunked_array([pa.array([_label_of(row.label) for row in rows], schema.label_type)])
    # The rows were drawn by a hash of their request: any draw of them is a fair one.
    hashes = np.arange(len(rows), dtype=np.uint64)
    return sketch_columns(pa.table(columns), labels, hashes, schema)


def _inputs_of(row: ServedRow, schema: ExampleSchema) -> Mapping[str, Any]:
    if row.inputs is not None:
        return row.inputs
    return {schema.short_input.name: list(row.features)} if schema.short_input else {}


def _label_of(label: object) -> object:
    return list(label) if isinstance(label, tuple) else label


def _column_of(inputs: Sequence[Mapping[str, Any]], declared: InputSpec) -> pa.Array:
    kind = arrow_type_of(declared)
    values = [each.get(declared.name) for each in inputs]
    try:
        return _array_of(values, declared, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.concat_arrays([pa.array([], kind), *(_value_of(value, declared, kind) for value in values)])


def _value_of(value: object, declared: InputSpec, kind: pa.DataType) -> pa.Array:
    try:
        return _array_of([value], declared, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(1, kind)


def _array_of(values: Sequence[object], declared: InputSpec, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    if isinstance(declared, CategoryInput):
        return pa.array([None if value is None else str(value) for value in values], kind)
    if isinstance(declared, VectorInput):
        whole = [value if isinstance(value, list) and len(value) == declared.size else None for value in values]
        return pa.array(whole, kind)
    return pa.array(values, kind)
