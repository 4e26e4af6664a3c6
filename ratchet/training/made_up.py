"""Rows that nobody labelled, of any task: to try a model's code before there are labels. The same each time."""

import numpy as np
import pyarrow as pa

from ratchet.core.labels.schema import (
    BooleanInput,
    CategoryInput,
    DatetimeInput,
    ExampleSchema,
    ImageInput,
    InputSpec,
    NumberInput,
    NumberOutput,
    OutputSpec,
    TagsOutput,
    TextInput,
    VectorInput,
    arrow_type_of,
)

_WORDS = ("red", "blue", "late", "early", "long", "short", "Grüße", "日本", "42", "a")
_SPAN = 100.0
"""Of a range that has no end."""
_DAY_US = 86_400_000_000
_MISSING_EVERY = 4
"""Of an optional input each fourth value is missing."""


def made_up_rows(schema: ExampleSchema, num_rows: int) -> tuple[pa.Table, pa.ChunkedArray]:
    """Inputs (a column for each, by name) inside the declared ranges, and labels.

    Every class that has room is there.
    """
    generator = np.random.default_rng(0)
    columns = {}
    for each in schema.inputs:
        values = _values_of(each, num_rows, generator)
        if each.optional:
            values = [None if row % _MISSING_EVERY == 1 else value for row, value in enumerate(values)]
        columns[each.name] = pa.array(values, arrow_type_of(each))
    labels = pa.chunked_array([pa.array(_labels_of(schema.output, num_rows, generator), schema.label_type)])
    return pa.table(columns), labels


def _values_of(declared: InputSpec, num_rows: int, generator: np.random.Generator) -> list[object]:
    match declared:
        case NumberInput():
            return list(generator.uniform(*_range_of(declared), size=num_rows))
        case VectorInput():
            return list(generator.uniform(*_range_of(declared), size=(num_rows, declared.size)))
        case BooleanInput():
            return [row % 2 == 0 for row in range(num_rows)]
        case DatetimeInput():
            return [row * _DAY_US + 1_600_000_000_000_000 for row in range(num_rows)]
        case CategoryInput():
            values = declared.values or _WORDS
            return [values[row % len(values)] for row in range(num_rows)]
        case TextInput():
            texts = (" ".join(generator.choice(_WORDS, size=row % 7)) for row in range(num_rows))
            return [text[: declared.chars_max] for text in texts]
        case ImageInput():
            return [generator.bytes(declared.num_bytes) for _ in range(num_rows)]


def _labels_of(output: OutputSpec, num_rows: int, generator: np.random.Generator) -> list[object]:
    if isinstance(output, NumberOutput):
        return list(generator.uniform(*_range_of(output), size=num_rows))
    if isinstance(output, TagsOutput):
        return [list(output.classes[: row % 3]) for row in range(num_rows)]
    return [output.classes[row % len(output.classes)] for row in range(num_rows)]


def _range_of(declared: NumberInput | VectorInput | NumberOutput) -> tuple[float, float]:
    low, high = declared.range
    if not np.isfinite(low):
        low = high - _SPAN if np.isfinite(high) else 0.0
    return low, high if np.isfinite(high) else low + _SPAN
