"""What the payload log keeps of a request's inputs (no long texts; of an image its digest and size), and how an
example is found in it again. Pure.

Shape suffix: N rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.digests import inputs_digests
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import (
    CategoryInput,
    ExampleSchema,
    ImageInput,
    InputSpec,
    TextInput,
    VectorInput,
    arrow_type_of,
)
from ratchet.core.rollout.payloads import TEXT_CHARS_LOGGED

_IMAGE = pa.struct([("sha256", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("channels", pa.int32())])


def shortened(inputs: pa.Table, schema: ExampleSchema) -> pa.Table:
    """The same rows and columns; a text is cut to its first `TEXT_CHARS_LOGGED` characters, and an image is an object
    `{"sha256", "width", "height", "channels"}` of the pixels that the model saw."""
    for position, declared in enumerate(schema.inputs):
        column = inputs[declared.name]
        if isinstance(declared, TextInput) and declared.chars_max > TEXT_CHARS_LOGGED:
            inputs = inputs.set_column(position, declared.name, pc.utf8_slice_codeunits(column, 0, TEXT_CHARS_LOGGED))
        elif isinstance(declared, ImageInput):
            inputs = inputs.set_column(position, declared.name, _digests_of(column, declared))
    return inputs


def table_of_logged(inputs: Sequence[Mapping[str, Any]], schema: ExampleSchema) -> pa.Table:
    """Inputs as log lines have them, name to value, as `shortened` gave them. A value that the task no longer takes
    counts as missing."""
    return pa.table({each.name: _column_of([row.get(each.name) for row in inputs], each) for each in schema.inputs})


def logged_digests(logged: pa.Table, schema: ExampleSchema, *, precision: pa.DataType | None = None) -> np.ndarray:
    """(N,) uint64: equal for rows that the log holds of the same inputs. logged: as `shortened` gives it.

    Numbers are compared as float32: a client that sends FP32 is logged with what that leaves of them. precision: of a
    client that sent less than that.
    """
    columns = [_comparable(whole_column(logged[each.name]), precision) for each in schema.inputs]
    inputs = pa.StructArray.from_arrays(columns, names=[each.name for each in schema.inputs])
    return inputs_digests(pa.table({"inputs": inputs}), schema)


def _comparable(column: pa.Array, precision: pa.DataType | None) -> pa.Array:
    kind = column.type
    if pa.types.is_struct(kind):
        return pc.struct_field(column, "sha256")
    for rounded in (precision, pa.float32()):
        if rounded is not None and (pa.types.is_floating(kind) or pa.types.is_list(kind)):
            target = pa.list_(rounded) if pa.types.is_list(kind) else rounded
            column = column.cast(target, safe=False).cast(kind)
    return column


def _digests_of(column: pa.ChunkedArray, declared: ImageInput) -> pa.Array:
    size = {"width": declared.width, "height": declared.height, "channels": declared.channels}
    found = (None if each is None else hashlib.sha256(each.as_buffer()).hexdigest() for each in _buffers(column))
    return pa.array([digest and {"sha256": digest, **size} for digest in found], _IMAGE)


def _buffers(column: pa.ChunkedArray) -> list[pa.Scalar | None]:
    """Without a copy of any image."""
    return [scalar if scalar.is_valid else None for scalar in column]


def _column_of(values: Sequence[Any], declared: InputSpec) -> pa.Array:
    kind = _IMAGE if isinstance(declared, ImageInput) else arrow_type_of(declared)
    try:
        return _array_of(values, declared, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.concat_arrays([pa.array([], kind), *(_value_of(value, declared, kind) for value in values)])


def _value_of(value: object, declared: InputSpec, kind: pa.DataType) -> pa.Array:
    try:
        return _array_of([value], declared, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.nulls(1, kind)


def _array_of(values: Sequence[object], declared: InputSpec, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        # The payload log is JSON, which has no times: they are texts.
        return pa.array(values, pa.string()).cast(kind)
    if isinstance(declared, CategoryInput):
        return pa.array([None if value is None else str(value) for value in values], kind)
    if isinstance(declared, VectorInput):
        whole = [value if isinstance(value, list) and len(value) == declared.size else None for value in values]
        return pa.array(whole, kind)
    return pa.array(values, kind)
