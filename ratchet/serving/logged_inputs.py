"""What the payload log keeps of a request's inputs: no long texts, and of an image its digest and its size. Pure."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.schema import ExampleSchema, ImageInput, TextInput
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


def _digests_of(column: pa.ChunkedArray, declared: ImageInput) -> pa.Array:
    size = {"width": declared.width, "height": declared.height, "channels": declared.channels}
    found = (None if each is None else hashlib.sha256(each.as_buffer()).hexdigest() for each in _buffers(column))
    return pa.array([digest and {"sha256": digest, **size} for digest in found], _IMAGE)


def _buffers(column: pa.ChunkedArray) -> list[pa.Scalar | None]:
    """Without a copy of any image."""
    return [scalar if scalar.is_valid else None for scalar in column]
