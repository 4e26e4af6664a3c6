"""Digests and codes of whole columns, beside what they stand for row by row."""

import hashlib
import struct
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from ratchet.core.labels.digests import id_digests, inputs_codes, inputs_digests
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import features_digest_of, id_digest_of

OUTPUT = {"type": "category", "classes": ["no", "yes"]}
TYPED = ExampleSchema.model_validate(
    {
        "inputs": [
            {"name": "distance", "type": "number", "optional": True},
            {"name": "delay", "type": "number", "optional": True},
            {"name": "carrier", "type": "category", "optional": True},
            {"name": "is_night", "type": "boolean", "optional": True},
            {"name": "left_at", "type": "datetime", "optional": True},
            {"name": "wind", "type": "vector", "size": 2, "optional": True},
        ],
        "output": OUTPUT,
    }
)
SHORT = ExampleSchema.model_validate({"inputs": [{"name": "pixels", "type": "vector", "size": 2}], "output": OUTPUT})
AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
BASE = {"distance": 1.5, "delay": 0.0, "carrier": "AA", "is_night": True, "left_at": AT, "wind": [1.0, 2.0]}
OTHERS: list[dict[str, Any]] = [
    {"distance": 0.0, "delay": 1.5}, {"distance": None}, {"distance": 0.0}, {"carrier": None}, {"carrier": ""},
    {"is_night": False}, {"is_night": None}, {"left_at": None}, {"wind": [2.0, 1.0]}, {"wind": None},
    {"wind": [0.0, 0.0]}, {"wind": [1.0]}, {"wind": []}, dict.fromkeys(BASE),
]  # fmt: skip
"""Each differs from the base and from all others."""
LARGE = 40_000
"""Rows of more than two chunks."""


def table_of(rows: list[dict[str, Any]], schema: ExampleSchema) -> pa.Table:
    return pa.table({"inputs": pa.array(rows, schema.inputs_type)})


@pytest.mark.parametrize("digests_of", [inputs_digests, inputs_codes])
def test_rows_have_one_digest_exactly_when_their_inputs_are_equal(digests_of: Any) -> None:
    different = [BASE, *({**BASE, **other} for other in OTHERS)]
    equal = [{**BASE, "delay": -0.0}, *different]
    found = digests_of(table_of(different + equal, TYPED), TYPED).tolist()
    assert len(set(found)) == len(different)
    assert found[len(different) + 1 :] == found[: len(different)]
    assert found[len(different)] == found[0], "-0.0 is 0.0"


@pytest.mark.parametrize("digests_of", [inputs_digests, inputs_codes])
def test_a_digest_does_not_depend_on_where_its_row_lies(digests_of: Any) -> None:
    rows = [{**BASE, "distance": float(number // 2)} for number in range(LARGE)]
    table = table_of(rows, TYPED)
    found = digests_of(table, TYPED)
    assert (found[::2] == found[1::2]).all()
    assert len(set(found.tolist())) == LARGE // 2
    assert (digests_of(table.slice(17_001), TYPED) == found[17_001:]).all()
    assert len(digests_of(table.slice(0, 0), TYPED)) == 0


def test_digests_are_those_of_the_indexes_that_are_stored() -> None:
    ids = pa.array(["a", "ü", ""])
    assert id_digests(ids).tolist() == [id_digest_of(each) for each in ids.to_pylist()]
    short = [{"pixels": [0.5, -0.0]}, {"pixels": [1.0, 2.0]}]
    expected = [features_digest_of(row["pixels"]) for row in short]
    assert inputs_digests(table_of(short, SHORT), SHORT).tolist() == expected
    numbers = ExampleSchema.model_validate(
        {
            "inputs": [{"name": "a", "type": "number"}, {"name": "b", "type": "number", "optional": True}],
            "output": OUTPUT,
        }
    )
    record = b"\x01" + struct.pack("<d", 2.5) + b"\x00" + bytes(8)
    stored = int.from_bytes(hashlib.sha256(record).digest()[:8], "big")
    assert inputs_digests(table_of([{"a": 2.5, "b": None}], numbers), numbers).tolist() == [stored]
