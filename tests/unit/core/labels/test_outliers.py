"""What is far from all others is named, and nothing of honest tails is."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ratchet.core.labels.near.images import look_at
from ratchet.core.labels.outliers import outliers_of
from ratchet.core.labels.schema import ExampleSchema, ImageInput

DRAW = np.random.default_rng(3)


def rows_out(
    declared: dict[str, Any], values: Any, *, output: dict[str, Any] | None = None, labels: Any = None
) -> list[int]:
    schema = ExampleSchema.model_validate(
        {"inputs": [{"name": "x", **declared}], "output": output or {"type": "category", "classes": ["a", "b"]}}
    )
    column = pa.array(values, schema.inputs_type.field("x").type)
    table = pa.table(
        {
            "inputs": pa.StructArray.from_arrays([column], fields=list(schema.inputs_type)),
            "label": pa.array(["a"] * len(column) if labels is None else labels, schema.label_type),
        }
    )
    (only,) = schema.inputs
    contrasts = {"x": look_at(column, only).contrasts_N} if isinstance(only, ImageInput) else {}
    is_out = [found.is_out_N for found in outliers_of(table, schema, contrasts)]
    return np.flatnonzero(np.logical_or.reduce(is_out)).tolist() if is_out else []


@pytest.mark.parametrize(
    "values",
    [
        DRAW.normal(size=20_000),
        DRAW.exponential(size=20_000),
        DRAW.integers(0, 5, 20_000).astype(float),
        np.full(500, 2.0),
    ],
    ids=["normal", "exponential", "few-values", "one-value"],
)
def test_honest_columns_have_no_outliers_and_a_wrong_unit_is_one(values: np.ndarray) -> None:
    assert rows_out({"type": "number"}, values) == []
    if len(set(values.tolist())) > 1:
        values = values.copy()
        values[[7, 90]] = 1e9, -1e9
        assert rows_out({"type": "number"}, values) == [7, 90]


def test_a_label_a_time_and_a_vector_are_looked_at() -> None:
    labels = DRAW.normal(size=300)
    labels[5] = 400.0
    assert rows_out({"type": "number"}, np.zeros(300), output={"type": "number"}, labels=labels) == [5]
    times = [1_700_000_000_000_000 + at * 86_400_000_000 for at in range(300)]
    assert rows_out({"type": "datetime"}, [0, *times]) == [0]
    vectors = DRAW.normal(size=(300, 8))
    vectors[11] *= 1000
    assert rows_out({"type": "vector", "size": 8}, list(vectors)) == [11]


def test_a_text_of_odd_length_or_without_words_is_named_and_a_missing_one_is_not() -> None:
    texts: list[str | None] = [" ".join(["word"] * (10 + at % 30)) for at in range(300)]
    texts[4], texts[9], texts[12] = "word " * 19_000, "0x93 7731 #### 2221 ---- 9919", None
    assert rows_out({"type": "text", "optional": True}, texts) == [4, 9]


def test_a_picture_of_one_colour_is_named_unless_they_are_usual() -> None:
    kind = {"type": "image", "width": 8, "height": 8, "channels": 1}
    pictures = [DRAW.integers(0, 255, 64).astype(np.uint8).tobytes() for _ in range(200)]
    assert rows_out(kind, [bytes(64), *pictures]) == [0]
    assert rows_out(kind, [bytes(64)] * 50 + pictures) == []


def test_few_rows_have_no_tails() -> None:
    assert rows_out({"type": "number"}, [1.0] * 50 + [1e9]) == []
