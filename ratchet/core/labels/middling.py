"""An example that a task accepts, made from its declaration alone: to warm a model up, or to see whether it answers.
Pure."""

from datetime import UTC, datetime
from typing import Any

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
    TextInput,
    VectorInput,
    arrow_type_of,
)

_TIME = datetime(2020, 1, 1, tzinfo=UTC)
_TEXT = "a text"


def middling_inputs(schema: ExampleSchema) -> pa.Table:
    """One row with a column for each input: the middle of a range, the first of the values, no input missing."""
    return pa.table({each.name: pa.array([_middle_of(each)], arrow_type_of(each)) for each in schema.inputs})


def _middle_of(declared: InputSpec) -> Any:
    match declared:
        case NumberInput():
            return _middle(*declared.range)
        case VectorInput(size=size):
            return np.full(size, _middle(*declared.range))
        case CategoryInput(values=values):
            return values[0] if values else _TEXT
        case BooleanInput():
            return False
        case DatetimeInput():
            return _TIME
        case TextInput(chars_max=chars_max):
            return _TEXT[:chars_max]
        case ImageInput():
            return bytes(declared.num_bytes)


def _middle(low: float, high: float) -> float:
    """Where only one side has a limit, that limit."""
    if np.isfinite(low) and np.isfinite(high):
        return low / 2 + high / 2
    return next((limit for limit in (low, high) if np.isfinite(limit)), 0.0)
