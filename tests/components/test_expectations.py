"""The rules of each row: every row counts, wherever it lies in a batch."""

from typing import Any

import pyarrow as pa
import pytest

from components.validate.expectations import check_rows
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.tables import incoming_schema

SCHEMA = ExampleSchema.model_validate(
    {
        "inputs": [
            {"name": "age", "type": "number", "min": 0, "max": 120},
            {"name": "plan", "type": "category", "values": ["free", "paid"], "optional": True},
            {"name": "wind", "type": "vector", "size": 2, "min": -1},
        ],
        "output": {"type": "category", "classes": ["no", "yes"]},
    }
)
GOOD: dict[str, Any] = {
    "id": "a",
    "inputs": {"age": 1.0, "plan": None, "wind": [0.0, 1.0]},
    "label": "no",
    "labeler": "ada",
}
BAD: dict[str, dict[str, Any]] = {
    "age range": {"inputs": {**GOOD["inputs"], "age": 121.0}},
    "plan value": {"inputs": {**GOOD["inputs"], "plan": "gold"}},
    "wind given": {"inputs": {**GOOD["inputs"], "wind": [0.0]}},
    "wind min": {"inputs": {**GOOD["inputs"], "wind": [0.0, -2.0]}},
    "known class": {"label": "maybe"},
    "id length": {"id": "x" * 257},
    "labeler given": {"labeler": None},
}
LARGE = 12_000
"""Rows of which Great Expectations is not shown all."""


@pytest.mark.slow
def test_a_broken_rule_is_counted_wherever_its_row_lies() -> None:
    kind = incoming_schema(SCHEMA)
    good = pa.Table.from_pylist([{**GOOD, "shard": "s1", "labeled_at": 0}] * LARGE, schema=kind)
    bad = pa.Table.from_pylist([{**GOOD, "shard": f"bad {name}", "labeled_at": 0, **BAD[name]} for name in BAD], kind)
    behind, before = (check_rows(pa.concat_tables(order), SCHEMA) for order in ([good, bad], [bad, good]))
    assert behind == before
    found = {count.check: count for count in behind}
    for name in BAD:
        labeler = "" if name == "labeler given" else "ada"
        assert (found[name].num_bad, found[name].places) == (1, ((f"bad {name}", labeler),)), name
        assert found[name].num_rows == LARGE + len(BAD)
    assert sum(count.num_bad for count in behind) == len(BAD)
