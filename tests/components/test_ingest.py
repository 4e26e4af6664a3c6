"""ingest: label shards in, a dataset version out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ratchet.actions.labels.datasets import list_pending
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.shards import shard_key_of, split_of
from ratchet.core.labels.tables import INDEX, incoming_schema, table_of
from tests.components.data import NOON, SPEC, Room, digit_labels
from tests.stores import label_stores, newest_accepted


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def rows(room: Room, name: str) -> list[dict[str, Any]]:
    return pq.read_table(room.path(name)).to_pylist()


def held(room: Room, version: str) -> dict[str, str]:
    """Id to label of everything that a version holds, each id once and in the shard of its split."""
    found: dict[str, str] = {}
    for shard in room.datasets.fetch_manifest(version).shards:
        table = table_of(room.datasets.fetch_shard(shard), where=shard.path)
        assert (table.num_rows, table.schema) == (shard.num_rows, SPEC.examples.rows_schema)
        for row in table.to_pylist():
            assert split_of(row["id"]) == shard.split
            assert row["id"] not in found
            found[row["id"]] = row["label"]
    return found


def accepted(room: Room) -> tuple[str, int]:
    version, num_new = room.ingest()
    assert room.validate(version).verdict == "accepted"
    return version, num_new


def test_no_label_at_all_is_an_error_with_the_next_step(room: Room) -> None:
    with pytest.raises(DataRejected, match="ratchet labels push"):
        room.ingest()


def test_labels_become_a_version_by_split(room: Room) -> None:
    key = room.push(digit_labels(range(300)))
    assert room.ingest() == ("digits/v1", 300)
    manifest = Manifest.model_validate_json(Path(room.path("manifest")).read_bytes())
    assert manifest == room.datasets.fetch_manifest("digits/v1")
    assert (manifest.num_labels, sum(manifest.num_labels_by_class.values()), manifest.watermark) == (300, 300, key)
    assert len(held(room, "digits/v1")) == 300
    assert pq.read_schema(room.path("incoming")).equals(incoming_schema(SPEC.examples))
    assert rows(room, "reference") == []


def test_the_next_version_adds_only_what_is_new(room: Room) -> None:
    room.push(digit_labels(range(300)))
    accepted(room)
    room.push(digit_labels(range(250, 450), labeler="bo"))
    assert accepted(room) == ("digits/v2", 150)
    second, first = room.datasets.fetch_manifest("digits/v2"), room.datasets.fetch_manifest("digits/v1")
    assert (second.parent, second.num_labels) == ("digits/v1", 450)
    assert second.shards[: len(first.shards)] == first.shards
    assert len(held(room, "digits/v2")) == 450
    known = {row["id"] for row in rows(room, "incoming") if row["known_label"] is not None}
    assert known == {f"digit-{row}" for row in range(250, 300)}
    assert {row["id"] for row in rows(room, "reference")} <= held(room, "digits/v1").keys()


def test_a_version_without_a_verdict_does_not_count(room: Room) -> None:
    """The run was killed between ingest and validate: the labels are pending still, and the next version has them."""
    room.push(digit_labels(range(100)))
    room.ingest()
    room.push(digit_labels(range(100, 150)))
    assert room.ingest() == ("digits/v2", 150)
    assert room.datasets.fetch_manifest("digits/v2").parent is None


def test_nothing_new_is_the_newest_accepted_version_again(room: Room) -> None:
    room.push(digit_labels(range(300)))
    accepted(room)
    before = newest_accepted(room.datasets, room.objects)
    assert room.ingest() == ("digits/v1", 0)
    assert (rows(room, "incoming"), len(rows(room, "reference"))) == ([], len(_train(held(room, "digits/v1"))))
    assert room.validate("digits/v1").verdict == "accepted"
    assert newest_accepted(room.datasets, room.objects) == before
    assert room.datasets.list_versions("digits") == ("digits/v1",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "no labels in it", id="empty"),
        pytest.param(b"{not json}\n", "line 1: not JSON", id="not-json"),
        pytest.param(b"\xff\xfe\n", "line 1: not UTF-8", id="not-utf8"),
        pytest.param(b'{"id": "x"}\n', "line 1: `label` is missing; it must be a text", id="no-label"),
    ],
)
def test_a_shard_that_cannot_be_read_does_not_hold_up_the_others(room: Room, data: bytes, reason: str) -> None:
    good = room.push(digit_labels(range(200)))
    bad = room.labels.put_shard("digits", data, num_labels=7)
    assert room.ingest() == ("digits/v1", 200)
    [rejected] = json.loads(Path(room.path("rejected")).read_bytes())["rejected"]
    assert rejected["key"] == bad
    assert reason in rejected["reason"]
    verdict = room.validate("digits/v1")
    assert (verdict.verdict, verdict.inputs["shards"], verdict.inputs["quarantined"]) == ("accepted", [good], [bad])
    assert pending_keys(room) == []


def test_unreadable_shards_alone_are_refused_once(room: Room) -> None:
    """Else the sensor would count them, and start a run, for ever."""
    bad = room.labels.put_shard("digits", b"?", num_labels=500)
    version, num_new = room.ingest()
    assert num_new == 0
    verdict = room.validate(version)
    assert (verdict.verdict, verdict.inputs["quarantined"], pending_keys(room)) == ("refused", [bad], [])


def test_the_majority_settles_an_example_and_a_tie_is_not_learned(room: Room) -> None:
    room.push(digit_labels([1, 2], labeler="ada"))
    room.push(digit_labels([1, 2], labeler="bo", num_wrong=2))
    room.push(digit_labels([1], labeler="cy"))
    assert room.ingest() == ("digits/v1", 1)
    assert held(room, "digits/v1") == {"digit-1": "1"}
    assert len(rows(room, "incoming")) == 5


def test_a_known_example_keeps_its_first_label(room: Room) -> None:
    room.push(digit_labels(range(100)))
    accepted(room)
    room.push(digit_labels([5], labeler="bo", num_wrong=1))
    assert accepted(room) == ("digits/v2", 0)
    assert held(room, "digits/v2")["digit-5"] == "5"


def test_a_parquet_shard_reads_like_a_jsonl_shard(room: Room) -> None:
    import io

    import pyarrow as pa

    buffer = io.BytesIO()
    columns = [label.model_dump(exclude={"uri"}) for label in digit_labels(range(20))]
    pq.write_table(pa.Table.from_pylist(columns), buffer)
    room.labels.put_at(shard_key_of("digits", NOON, bytes(10)).replace("jsonl", "parquet"), buffer.getvalue())
    assert room.ingest() == ("digits/v1", 20)


def test_the_index_stays_in_few_files_and_knows_every_example(room: Room) -> None:
    for start in range(0, 80, 10):
        room.push(digit_labels(range(start, start + 10)))
        accepted(room)
    manifest = room.datasets.fetch_manifest("digits/v8")
    tables = [table_of(room.datasets.fetch_shard(file), where=file.path) for file in manifest.index]
    assert len(tables) <= 4
    assert all(table.schema == INDEX for table in tables)
    assert sum(table.num_rows for table in tables) == manifest.num_labels == 80


def test_large_batches_are_split_into_several_shards(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.ingest.files.SHARD_ROWS_MAX", 100)
    room.push(digit_labels(range(300)))
    room.ingest()
    paths = [shard.path for shard in room.datasets.fetch_manifest("digits/v1").shards if shard.split == "train"]
    assert paths == ["shards/v1-train.parquet", "shards/v1-train-1.parquet", "shards/v1-train-2.parquet"]
    assert len(held(room, "digits/v1")) == 300


def test_a_twin_of_a_known_example_is_noticed(room: Room) -> None:
    room.push(digit_labels(range(100)))
    accepted(room)
    [original] = digit_labels([0])
    room.push([original.model_copy(update={"id": "copy"})])
    room.ingest()
    [row] = rows(room, "incoming")
    assert (row["known_label"], row["known_twin_split"]) == (None, split_of("digit-0"))


def pending_keys(room: Room) -> Sequence[str]:
    pending = list_pending(label_stores(room.labels, room.datasets, room.objects), task=SPEC.name)
    return [shard.key for shard in pending.shards]


def _train(label_by_id: dict[str, str]) -> list[str]:
    return [of for of in label_by_id if split_of(of) == "train"]
