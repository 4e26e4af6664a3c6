"""The labelers of a task, from what is stored: what each said, how it fits the others, what the checks make of it."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.actions.labels.labelers import Labelers, differences_from_others, list_labelers, unknown_labeler
from ratchet.actions.labels.reading import read_opinions
from ratchet.core.labels.reliability.labelers import LabelerRow
from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, ImageInput
from tests.components.data import NOON, QUALITY, SPEC, Room, digit_labels
from tests.models import changed
from tests.stores import label_stores


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def listed(room: Room, spec: Any = SPEC) -> Labelers:
    return list_labelers(
        label_stores(room.labels, room.datasets, room.objects), spec, QUALITY, watch=lambda done, total: None
    )


def rows_of(room: Room, spec: Any = SPEC) -> dict[str, LabelerRow]:
    return {row.labeler: row for row in listed(room, spec).rows}


def test_a_careless_labeler_is_suspected_and_the_others_are_trusted(room: Room) -> None:
    for name, num_wrong in (("ann", 0), ("bo", 1), ("carl", 30)):
        room.push(digit_labels(range(80), labeler=name, num_wrong=num_wrong))
    room.push(digit_labels(range(200, 210), labeler="dora", minutes=5))
    found = rows_of(room)
    assert {name: row.status for name, row in found.items()} == {
        "ann": "trusted", "bo": "trusted", "carl": "suspected", "dora": "too few"}  # fmt: skip
    carl, dora = found["carl"], found["dora"]
    assert "'carl' disagrees with the others" in carl.reason and "limit 5.0%" in carl.reason
    assert (carl.num_opinions, carl.num_examples, carl.agreement.num_shared) == (80, 80, 79)
    assert carl.agreement.coefficient is not None and found["bo"].agreement.coefficient is not None
    assert carl.agreement.coefficient.high < found["bo"].agreement.coefficient.low
    assert dora.agreement.coefficient is None and "too few to judge; 20 are needed" in dora.reason
    assert dora.first_at == dora.last_at > NOON


def test_differences_are_told_by_class_and_by_example(room: Room) -> None:
    for name, num_wrong in (("ann", 0), ("bo", 0), ("carl", 30)):
        room.push(digit_labels(range(80), labeler=name, num_wrong=num_wrong))
    found = differences_from_others(listed(room), SPEC, "carl")
    assert found.num == 30 and sum(each.num for each in found.confusions) == 30 and len(found.sample) == 10
    assert all(int(each.label) == (int(each.others) + 1) % 10 for each in found.confusions)
    assert differences_from_others(listed(room), SPEC, "nobody").num == 0


def test_the_last_verdict_about_a_labeler_counts_as_well(room: Room) -> None:
    """Neighbours and accepted labels are known to `validate` alone."""
    room.push(digit_labels(range(300)))
    room.validate(room.ingest()[0])
    thirds = [label for row in range(600, 800) for label in digit_labels([row], labeler="carl", num_wrong=row % 3 == 0)]
    room.push(thirds)
    assert room.validate(room.ingest()[0]).verdict == "refused"
    carl = rows_of(room)["carl"]
    assert (carl.status, carl.num_quarantined) == ("suspected", 200)
    assert carl.reason.startswith("digits/v2: ") and "contradicted by their nearest neighbours" in carl.reason


def test_corrections_made_and_received_are_counted(room: Room) -> None:
    spec = changed(SPEC, {"reviewers": ("rita",)})
    room.push(digit_labels(range(200), num_wrong=3))
    room.validate(room.ingest(spec)[0], spec=spec)
    room.push(digit_labels(range(6), labeler="rita", minutes=5))
    assert room.validate(room.ingest(spec)[0], spec=spec).verdict == "accepted"
    found = rows_of(room, spec)
    assert found["rita"].status == "reviewer"
    assert (found["rita"].num_corrections_made, found["ada"].num_corrections_received) == (3, 3)
    assert (found["ada"].num_corrections_made, found["rita"].num_corrections_received) == (0, 0)


def test_a_shard_that_cannot_be_read_is_counted_and_holds_no_opinion(room: Room) -> None:
    room.push(digit_labels(range(30)))
    room.labels.put_shard("digits", b'{"id": "digit-7"\n', num_labels=1)
    read = listed(room).opinions
    assert (read.num_shards, read.num_shards_unreadable, read.said.num_rows, read.num_shards_left) == (1, 1, 30, 0)


def test_without_opinions_there_is_no_labeler(room: Room) -> None:
    found = listed(room)
    assert found.rows == () and "known: none" in str(unknown_labeler("ann", [found]))


def test_an_unknown_name_is_answered_with_the_nearest_ones(room: Room) -> None:
    room.push(digit_labels(range(3), labeler="Annabel"))
    room.push(digit_labels(range(3), labeler="zoe"))
    text = str(unknown_labeler("anabel", [listed(room)]))
    assert "near: 'Annabel'" in text and "`ratchet labelers list`" in text and "zoe" not in text
    assert "known: 'Annabel', 'zoe'" in str(unknown_labeler("q", [listed(room)]))


@pytest.mark.parametrize("name", ["s.jsonl", "s.parquet"])
def test_opinions_on_pictures_are_read_without_the_pictures(name: str) -> None:
    schema = ExampleSchema(
        inputs=(ImageInput(name="photo", width=8, height=8),), output=CategoryOutput(classes=("cat", "dog"))
    )
    line = {"id": "p-1", "inputs": {"photo": "s3://labels/photos/p-1.png"}, "label": "cat", "labeler": "ann",
            "labeled_at": "2026-01-01T12:00:00Z"}  # fmt: skip
    data = io.BytesIO(json.dumps(line).encode())
    if name.endswith(".parquet"):
        data = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([line]), data)
    [said] = read_opinions(name, data.getvalue(), schema=schema).to_pylist()
    assert {name: value for name, value in said.items() if value is not None} == {
        "id": "p-1", "label": "cat", "labeler": "ann", "labeled_at": NOON, "corrects": False}  # fmt: skip
