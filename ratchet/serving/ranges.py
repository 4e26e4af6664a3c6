"""Which instances a model must have an answer for: all numbers in the task's range, and in that of the 32-bit floats
that networks compute with. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.schema import ExampleSchema, NumberInput, VectorInput

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Outside(NamedTuple):
    """What a request holds outside the ranges."""

    is_inside_B: np.ndarray
    text: str
    """The first value outside, in words; "" when there is none."""


def find_outside(inputs: pa.Table, schema: ExampleSchema) -> Outside:
    """Of a table with a column for each input. A missing value is inside."""
    is_inside_B = np.ones(inputs.num_rows, dtype=bool)
    text = ""
    for declared, rows, places, values in _numbers_of(inputs, schema):
        lowest, highest = max(declared.range[0], -_FLOAT32_MAX), min(declared.range[1], _FLOAT32_MAX)
        outside = np.flatnonzero((values < lowest) | (values > highest))
        is_inside_B[rows[outside]] = False
        if len(outside) and not text:
            first, (low, high) = outside[0], declared.range
            value = values[first]
            whose = "the task's range" if not low <= value <= high else "the range of 32-bit floats,"
            where = f"instances[{rows[first]}]{places[first]}"
            text = f"{where} is {value:g}, outside {whose} {lowest:g} to {highest:g}"
    return Outside(is_inside_B, text)


class _Places:
    """How each number of a column is called within its instance; made for the one that is asked for."""

    def __init__(self, prefix: str, size: int) -> None:
        self._prefix, self._size = prefix, size

    def __getitem__(self, index: int) -> str:
        return self._prefix if not self._size else f"{self._prefix}[{index % self._size}]"


def _numbers_of(
    inputs: pa.Table, schema: ExampleSchema
) -> Iterator[tuple[NumberInput | VectorInput, np.ndarray, _Places, np.ndarray]]:
    """Of each input with a range: its declaration, the instance, place and value of each number that is there."""
    is_only = len(schema.inputs) == 1
    for declared in schema.inputs:
        if not isinstance(declared, NumberInput | VectorInput):
            continue
        column = inputs[declared.name].combine_chunks()
        rows = np.flatnonzero(pc.is_valid(column).to_numpy(zero_copy_only=False))
        size = declared.size if isinstance(declared, VectorInput) else 0
        numbers = pc.list_flatten(column) if size else column.drop_null()
        places = _Places("" if is_only else f".{declared.name}", size)
        yield declared, np.repeat(rows, size) if size else rows, places, numbers.to_numpy(zero_copy_only=False)
