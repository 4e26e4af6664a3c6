"""Labels of typed inputs through ingest and validate."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.core.labels.tables import table_of
from ratchet.tasks.spec import TaskSpec
from tests.components.data import Room

INPUTS = [
    {"name": "carrier", "type": "category", "values": ["AA", "UA"]},
    {"name": "distance", "type": "number", "min": 0},
    {"name": "remark", "type": "text", "optional": True},
]
OUTPUTS: dict[str, Any] = {
    "category": {"type": "category", "classes": ["no", "yes"]},
    "number": {"type": "number", "tolerance": 0.5},
    "tags": {"type": "tags", "classes": ["a", "b"]},
}
LABELS: dict[str, Any] = {"category": ["no", "yes"], "number": [1.5, 2.0], "tags": [["b", "a"], []]}


def task(kind: str) -> TaskSpec:
    return TaskSpec.model_validate(
        {"name": "digits", "inputs": INPUTS, "output": OUTPUTS[kind], "model": {"kind": "tabular"}}
    )


def push(room: Room, kind: str, *, num: int = 60, labels: list[Any] | None = None, **inputs: Any) -> str:
    said = {"labeler": "ada", "labeled_at": "2026-01-31T09:00:00Z"}
    lines = [
        {
            **said,
            "id": f"f-{number}",
            "inputs": {"carrier": "AA", "distance": number, **(inputs if number == 0 else {})},
            "label": (labels or LABELS[kind])[number % len(labels or LABELS[kind])],
        }
        for number in range(num)
    ]
    return room.labels.put_shard("digits", "\n".join(map(json.dumps, lines)).encode(), num_labels=num)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_labels_of_each_type_become_a_version_and_are_known_in_the_next(kind: str, tmp_path: Path) -> None:
    room, spec = Room(tmp_path), task(kind)
    push(room, kind)
    assert room.ingest(spec) == ("digits/v1", 60)
    verdict = room.validate("digits/v1", spec=spec)
    assert verdict.verdict == "accepted", verdict.summary()
    shards = room.datasets.fetch_manifest("digits/v1").shards
    tables = [table_of(room.datasets.fetch_shard(shard), where=shard.path) for shard in shards]
    assert all(table.schema == spec.examples.rows_schema for table in tables)
    push(room, kind, num=70)
    assert room.ingest(spec) == ("digits/v2", 10)


def test_a_value_beyond_its_limit_is_its_labelers_and_named(tmp_path: Path) -> None:
    room, spec = Room(tmp_path), task("category")
    key = push(room, "category", carrier="ZZ")
    verdict = room.validate(room.ingest(spec)[0], spec=spec)
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [key])
    assert "1 of 60 rows have a carrier that is none of its values" in verdict.summary()


def test_a_first_version_without_a_class_is_refused_and_blames_nobody(tmp_path: Path) -> None:
    room, spec = Room(tmp_path), task("category")
    push(room, "category", labels=["no"])
    verdict = room.validate(room.ingest(spec)[0], spec=spec)
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [])
    assert "1 of 2 classes have labels; none of 'yes'. Push labels of these classes" in verdict.summary()
