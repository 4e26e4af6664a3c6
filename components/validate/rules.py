"""The rules that hold for each row alone, as data: made from the task's inputs and output, evaluated in `expectations`.

Rules look at numbers and codes, not at texts: a length is a column.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.input_values import range_text
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import (
    BooleanInput,
    CategoryInput,
    CategoryOutput,
    DatetimeInput,
    ExampleSchema,
    ImageInput,
    InputSpec,
    NumberInput,
    NumberOutput,
    TextInput,
    VectorInput,
    inputs_table,
)
from ratchet.core.labels.shards import YEARS

_GIVEN = ("id", "label", "labeler", "labeled_at")


class Rule(NamedTuple):
    """What the values of a column must be. Without values or limits: given. A null breaks no other rule than that."""

    column: str
    """Of `looked_at`."""
    check: str
    text: str
    """What is wrong with rows that break it."""
    values: tuple[str, ...] | tuple[int, ...] | None = None
    low: float | None = None
    high: float | None = None

    def is_broken_by(self, column: pa.Array) -> np.ndarray:
        """(N,) bool: which rows break the rule."""
        if self.values is not None:
            is_fine = pc.is_in(column, value_set=pa.array([*self.values, None], column.type))
        elif self.low is None and self.high is None:
            is_fine = pc.is_valid(column)
        else:
            is_low = pc.greater_equal(column, -np.inf if self.low is None else self.low)
            is_fine = pc.and_(is_low, pc.less_equal(column, np.inf if self.high is None else self.high))
        return ~is_fine.fill_null(True).to_numpy(zero_copy_only=False)


def looked_at(rows: pa.Table, schema: ExampleSchema) -> Mapping[str, pa.Array]:
    """`incoming` as columns that a rule can look at."""
    columns = {name: _code_of(whole_column(rows[name])) for name in _GIVEN}
    columns["id length"] = pc.utf8_length(columns["id"])
    inputs = inputs_table(rows, schema)
    for each in schema.inputs:
        columns.update({f"inputs.{name}": values for name, values in _of_input(whole_column(inputs[each.name]), each)})
    return columns


def _code_of(column: pa.Array) -> pa.Array:
    return pc.list_value_length(column) if pa.types.is_list(column.type) else column


def _of_input(column: pa.Array, declared: InputSpec) -> Iterator[tuple[str, pa.Array]]:
    """(name, values) of what the rules of an input look at."""
    name = declared.name
    match declared:
        case VectorInput():
            yield f"{name} size", pc.list_value_length(column)
            yield f"{name} min", _of_each(np.minimum, column)
            yield f"{name} max", _of_each(np.maximum, column)
        case TextInput():
            yield name, pc.utf8_length(column)
        case DatetimeInput():
            yield name, pc.year(column)
        case NumberInput() | CategoryInput():
            yield name, column
        case BooleanInput() | ImageInput():
            yield name, pc.if_else(column.is_valid(), 1.0, None)


def _of_each(reduce: np.ufunc, vectors: pa.ListArray) -> pa.Array:
    """(N,) float64, null for a vector that is missing or empty."""
    lengths_N = pc.list_value_length(vectors).fill_null(0).to_numpy(zero_copy_only=False)
    found_N, is_there_N = np.zeros(len(vectors)), lengths_N > 0
    if is_there_N.any():
        starts_N = np.cumsum(lengths_N) - lengths_N
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        found_N[is_there_N] = reduce.reduceat(flat, starts_N[is_there_N])
    return pa.array(found_N, mask=~is_there_N)


def rules_of(schema: ExampleSchema) -> list[Rule]:
    rules = [
        *(Rule(name, f"{name} given", f"rows lack {name}") for name in _GIVEN),
        Rule("id length", "id length", "ids are empty or over 256 characters", low=1, high=256),
    ]
    output = schema.output
    if isinstance(output, CategoryOutput):
        rules.append(Rule("label", "known class", "labels are no class of the task", output.classes))
    elif isinstance(output, NumberOutput) and not _is_free(output.range):
        text = f"labels are not {range_text(*output.range)}"
        rules.append(_between("label", "label range", text, output.range))
    for each in schema.inputs:
        rules += _of_declared(each, is_short=schema.short_input is not None)
    return rules


def _of_declared(declared: InputSpec, *, is_short: bool) -> Iterator[Rule]:
    name = declared.name
    column = f"inputs.{name}"
    if isinstance(declared, VectorInput):
        yield from _of_vector(declared, is_short=is_short)
        return
    if not declared.optional:
        yield Rule(column, f"{name} given", f"rows lack {name}")
    match declared:
        case NumberInput() if not _is_free(declared.range):
            text = f"rows have a {name} that is not {range_text(*declared.range)}"
            yield _between(column, f"{name} range", text, declared.range)
        case CategoryInput() if declared.values:
            yield Rule(column, f"{name} value", f"rows have a {name} that is none of its values", declared.values)
        case TextInput():
            text = f"rows have a {name} of more than {declared.chars_max:,} characters"
            yield Rule(column, f"{name} length", text, low=0, high=declared.chars_max)
        case DatetimeInput():
            text = f"rows have a {name} that is not in {YEARS[0]} to {YEARS[-1]}"
            yield Rule(column, f"{name} year", text, low=YEARS[0], high=YEARS[-1])


def _of_vector(declared: VectorInput, *, is_short: bool) -> Iterator[Rule]:
    name = "features" if is_short else declared.name
    one = "a feature" if is_short else f"a number of {name}"
    column, (low, high) = f"inputs.{declared.name}", declared.range
    many = f"{declared.size} features" if is_short else f"{declared.size} numbers in {name}"
    if not declared.optional:
        yield Rule(f"{column} size", f"{name} there", f"rows lack {name}")
    yield Rule(f"{column} size", f"{name} given", f"rows have not {many}", (declared.size,))
    if np.isfinite(low):
        yield Rule(f"{column} min", f"{name} min", f"rows have {one} below {low:g}", low=low)
    if np.isfinite(high):
        yield Rule(f"{column} max", f"{name} max", f"rows have {one} above {high:g}", high=high)


def _between(column: str, check: str, text: str, limits: tuple[float, float]) -> Rule:
    low, high = (limit if np.isfinite(limit) else None for limit in limits)
    return Rule(column, check, text, low=low, high=high)


def _is_free(limits: tuple[float, float]) -> bool:
    return not any(np.isfinite(limit) for limit in limits)
