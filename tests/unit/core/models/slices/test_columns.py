"""Conditions on inputs by which test rows are divided."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.schema import ExampleSchema, arrow_type_of
from ratchet.core.models.slices.columns import NAMES_MAX, SliceColumn, columns_of, label_column


def columns(declared: dict, values: list) -> list[SliceColumn]:
    schema = ExampleSchema.model_validate(
        {"inputs": [{"name": "x", "optional": True, **declared}], "output": {"type": "category", "classes": ["a", "b"]}}
    )
    table = pa.table({"x": pa.array(values, arrow_type_of(schema.inputs[0]))})
    return columns_of(table, schema)


def shown(column: SliceColumn) -> list[str]:
    """The condition of each row, "" where none holds."""
    return [column.conditions[code] if code >= 0 else "" for code in column.code_N.tolist()]


@pytest.mark.parametrize(
    ("declared", "values", "expected"),
    [
        pytest.param(
            {"type": "category"}, ["AA", "UA", "AA", None],
            ['x is "AA"', 'x is "UA"', 'x is "AA"', "x is missing"], id="category",
        ),
        pytest.param(
            {"type": "boolean"}, [True, False, None], ["x is true", "x is false", "x is missing"], id="boolean"
        ),
        pytest.param(
            {"type": "number"}, [1.0, 1.0, 2.5, None],
            ["x is at most 1", "x is at most 1", "x is over 1", "x is missing"], id="number",
        ),
        pytest.param(
            {"type": "text"}, ["a", "a", "abc", None],
            ["the length of x is at most 1"] * 2 + ["the length of x is over 1", "x is missing"], id="text",
        ),
        pytest.param(
            {"type": "vector", "size": 2}, [[0, 0], [0, 0], [4, 6], None],
            ["the mean of x is at most 0"] * 2 + ["the mean of x is over 0", "x is missing"], id="vector",
        ),
        pytest.param(
            {"type": "image", "width": 2, "height": 1, "channels": 1}, [b"\0\0", b"\0\0", b"\xff\xff"],
            ["the brightness of x is at most 0"] * 2 + ["the brightness of x is over 0"], id="image",
        ),
    ],
)  # fmt: skip
def test_each_type_divides_rows_by_conditions_in_words(declared: dict, values: list, expected: list[str]) -> None:
    (column,) = columns(declared, values)
    assert shown(column) == expected


def test_a_time_is_divided_by_the_day_and_by_the_week() -> None:
    """1 January 2026 was a Thursday."""
    values = [datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 1, 3, 23, tzinfo=UTC)]
    by_day, by_week = columns({"type": "datetime"}, values)
    assert shown(by_day) == ["x is from 00:00 to 06:00 UTC", "x is from 18:00 to 24:00 UTC"]
    assert shown(by_week) == ["x is on a working day", "x is on a weekend"]


def test_rare_names_are_in_no_part() -> None:
    names = [f"n{number}" for number in range(NAMES_MAX + 5)]
    (column,) = columns({"type": "category"}, [*names, *names[:NAMES_MAX]])
    assert len(column.conditions) == NAMES_MAX
    assert shown(column)[NAMES_MAX : NAMES_MAX + 5] == [""] * 5


@pytest.mark.parametrize("values", [[], [None, None], [7.0, 7.0]], ids=["no-rows", "all-missing", "one-value"])
def test_what_does_not_differ_divides_nothing(values: list) -> None:
    assert columns({"type": "number"}, values) == []


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), max_size=60))
def test_the_parts_of_a_number_hold_each_row_once(values: list[float | None]) -> None:
    for column in columns({"type": "number"}, values):
        assert len(column.conditions) == len(set(column.conditions))
        assert column.code_N.min() >= 0 and column.code_N.max() < len(column.conditions)
        assert [code == len(column.conditions) - 1 for code in column.code_N] == [
            value is None for value in values
        ] or None not in values
        numbers = [(value, code) for value, code in zip(values, column.code_N, strict=True) if value is not None]
        assert [code for _, code in sorted(numbers)] == sorted(code for _, code in numbers), "parts are in order"


def test_a_label_is_a_condition() -> None:
    column = label_column(["b", "a", "b"])
    assert shown(column) == ['label is "b"', 'label is "a"', 'label is "b"']
    assert column.code_N.dtype == np.int32
