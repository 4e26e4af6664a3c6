"""The door of the quarantine: judged again, released, discarded; through ingest and validate, whoever dies."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet.actions.labels.datasets import list_pending
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.quarantine import Order
from ratchet.core.labels.shards import Label
from ratchet.core.verdict import Verdict
from ratchet.stores.quarantine_orders import QuarantineOrders
from tests.components.data import NOON, QUALITY, Room, digit_labels
from tests.stores import label_stores
from tests.wired import wire

STRICT = QUALITY.model_copy(update={"bad_row_ratio_max": 0.0})
RELAXED = QUALITY.model_copy(update={"bad_row_ratio_max": 1.0})


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    room = Room(tmp_path)
    wire(
        monkeypatch,
        label_store=lambda: room.labels,
        object_store=lambda: room.objects,
        dataset_store=lambda: room.datasets,
    )
    return room


def out_of_range(row: int, *, labeler: str = "ada") -> Label:
    [label] = digit_labels([row], labeler=labeler)
    return label.model_copy(update={"features": (99.0, *(label.features or ())[1:])})


def pending(room: Room) -> Backlog:
    return list_pending(label_stores(room.labels, room.datasets, room.objects), task="digits")


def keys(room: Room) -> list[str]:
    return [shard.key for shard in pending(room).shards]


def judged(room: Room, policy: Any = STRICT) -> tuple[Verdict, int]:
    version, num_new = room.ingest()
    return room.validate(version, policy), num_new


def door(*words: str) -> Any:
    done = CliRunner().invoke(app, ["labels", "quarantine", *words, "--task", "digits", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def state_of(room: Room) -> list[tuple[str, str | None, str]]:
    return [(row["key"], row["labeler"], row["state"]) for row in door("list", "--whole")]


def refused(room: Room, *, days_ago: bool = False) -> str:
    """A shard of 60 labels with one out of range, in quarantine; then another version is accepted."""
    bad = room.push([*digit_labels(range(59)), out_of_range(59)])
    assert judged(room)[0].inputs["quarantined"] == [bad]
    assert keys(room) == []
    for _ in range(3 if days_ago else 1):
        room.labels.now = room.labels.now.replace(day=room.labels.now.day + 1)
        rows = len(room.datasets.list_versions("digits")) * 60
        room.push(digit_labels(range(rows, rows + 60), labeler="bo"))
        assert judged(room)[0].verdict == "accepted"
    return bad


@pytest.mark.parametrize("days_ago", [False, True])
def test_after_the_policy_is_relaxed_what_was_refused_is_judged_again_and_counts(room: Room, days_ago: bool) -> None:
    bad = refused(room, days_ago=days_ago)
    assert state_of(room) == [(bad, None, "quarantined")]
    assert "rows have a feature above 16" in door("list")[0]["reason"]
    assert door("rejudge", "--all", "--yes", "--reason", "too strict")["labels"] == [{"key": bad, "labeler": None}]
    assert (keys(room), pending(room).num_labels) == ([bad], 60)
    watermark = pending(room).last_key
    verdict, num_new = judged(room, RELAXED)
    assert (verdict.verdict, verdict.inputs["shards"], num_new) == ("accepted", [bad], 60)
    assert verdict.inputs["watermark"] == watermark, "it never goes back"
    assert (keys(room), state_of(room)) == ([], [(bad, None, "accepted")])


def test_what_is_judged_again_may_be_refused_again_and_asked_for_again(room: Room) -> None:
    bad = refused(room)
    for num in (1, 2):
        door("rejudge", bad, "--yes")
        assert keys(room) == [bad]
        assert judged(room)[0].verdict == "refused"
        assert (keys(room), state_of(room)) == ([], [(bad, None, "quarantined")])
        assert len(QuarantineOrders(room.objects, "ratchet").list("digits")) == num


def test_a_released_shard_is_taken_in_whatever_the_policy_says(room: Room) -> None:
    bad = refused(room)
    door("release", bad.rpartition("/")[2].removesuffix(".jsonl"), "--yes", "--reason", "looked at by hand")
    verdict, num_new = judged(room)
    assert (verdict.verdict, verdict.inputs["shards"], num_new) == ("accepted", [bad], 60), verdict.summary()
    assert "a person released them" in " ".join(reason.text for reason in verdict.reasons)
    shown = door("show", bad)
    assert (shown["orders"][0]["reason"], shown["labels"][0]["state"]) == ("looked at by hand", "accepted")


def test_others_are_judged_as_ever_beside_what_is_released(room: Room) -> None:
    bad = refused(room)
    door("release", bad, "--yes")
    other = room.push([out_of_range(300, labeler="cy"), *digit_labels(range(301, 330), labeler="cy")])
    verdict, _ = judged(room)
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [other])
    assert keys(room) == [bad], "the order stands until a version takes it in"
    assert judged(room)[0].inputs["shards"] == [bad]


def test_of_a_mixed_shard_one_labeler_comes_back_alone(room: Room) -> None:
    mixed = room.push(
        [*digit_labels(range(100)), out_of_range(100, labeler="mal"), *digit_labels(range(101, 130), labeler="mal")]
    )
    assert judged(room)[0].inputs["quarantined_rows"] == {mixed: ["mal"]}
    assert pending(room).num_quarantined == 1
    verdict, num_new = judged(room)
    assert (verdict.inputs["shards"], num_new, keys(room)) == ([mixed], 100, [])
    assert state_of(room) == [(mixed, "mal", "quarantined")]
    door("release", mixed, "--labeler", "mal", "--yes")
    assert keys(room) == [mixed]
    verdict, num_new = judged(room)
    assert (verdict.verdict, num_new, keys(room)) == ("accepted", 30, [])
    assert state_of(room) == [(mixed, "mal", "accepted")]


def test_a_mixed_shard_that_still_waits_takes_its_labeler_back(room: Room) -> None:
    mixed = room.push([*digit_labels(range(100)), out_of_range(100, labeler="mal")])
    judged(room)
    door("rejudge", mixed, "--yes")
    assert pending(room).left_out == frozenset()
    assert judged(room, RELAXED)[1] == 101


def test_a_discarded_shard_stays_out_until_that_is_taken_back(room: Room) -> None:
    bad = refused(room)
    door("discard", bad, "--yes")
    assert door("list") == []
    assert door("rejudge", "--all", "--yes")["labels"] == [], "--all is of what is in quarantine"
    door("discard", bad, "--undo", "--yes")
    assert state_of(room) == [(bad, None, "quarantined")]
    door("rejudge", bad, "--yes")
    door("discard", bad, "--yes")
    assert keys(room) == [], "the last order counts"


def test_an_order_is_given_once_and_tells_what_it_leaves(room: Room) -> None:
    bad = refused(room)
    assert door("rejudge", bad, "--dry-run")["seq"] is None
    assert QuarantineOrders(room.objects, "ratchet").list("digits") == ()
    door("rejudge", bad, "--yes")
    again = door("rejudge", bad, "--yes")
    assert (again["labels"], again["left_as_they_are"][0]["why"]) == ([], "so already")
    assert len(QuarantineOrders(room.objects, "ratchet").list("digits")) == 1


def test_what_cannot_be_read_can_be_judged_again_and_not_released(room: Room) -> None:
    broken = room.labels.put_shard("digits", b"{", num_labels=1)
    judged(room)
    done = CliRunner().invoke(app, ["labels", "quarantine", "release", broken, "-t", "digits", "--yes"])
    assert done.exit_code == 3
    assert "cannot be read" in done.output
    door("rejudge", broken, "--yes")
    assert (keys(room), judged(room)[0].verdict, keys(room)) == ([broken], "refused", [])


def test_an_order_during_a_run_is_not_answered_by_it(room: Room) -> None:
    """ingest has looked, then a person orders, then validate speaks: of the orders that ingest knew."""
    bad = refused(room)
    room.push(digit_labels(range(400, 430), labeler="cy"))
    version, _ = room.ingest()
    door("rejudge", bad, "--yes")
    assert room.validate(version).verdict == "accepted"
    assert keys(room) == [bad]


def test_a_run_that_dies_before_its_verdict_leaves_the_order_open(room: Room) -> None:
    bad = refused(room)
    door("rejudge", bad, "--yes")
    room.ingest()
    assert keys(room) == [bad]
    assert judged(room, RELAXED)[0].inputs["shards"] == [bad]


def test_the_same_bytes_under_another_key_come_in_once(room: Room) -> None:
    bad = refused(room)
    twin = room.labels.put_shard("digits", room.labels.fetch_shard(bad), num_labels=60)
    assert keys(room) == []
    door("rejudge", bad, "--yes")
    assert keys(room) == [bad]
    assert judged(room, RELAXED)[0].inputs["shards"] == [bad]
    assert twin not in keys(room)


def test_who_orders_at_the_same_moment_gets_the_next_number(room: Room) -> None:
    def make(seq: int, orders: Sequence[Order]) -> Order:
        order = Order(seq=seq, kind="discard", places=(("k", ""),), reason="", by="ada", at=NOON)
        if not orders:  # another one is quicker
            room.objects.put(
                QuarantineOrders(room.objects, "ratchet").uri_of("digits", seq), order.model_dump_json().encode()
            )
        return order

    given = QuarantineOrders(room.objects, "ratchet").put("digits", make)
    assert given is not None
    assert given.seq == 2


class TestPush:
    """Labels that would not count are not pushed, and say so."""

    def push(self, room: Room, labels: Sequence[Label], *words: str) -> Any:
        file = room.folder / "labels.jsonl"
        file.write_text("".join(label.model_dump_json(exclude_none=True) + "\n" for label in labels))
        return CliRunner().invoke(app, ["labels", "push", str(file), "-t", "digits", *words])

    def test_what_waits_was_taken_in_or_is_known(self, room: Room) -> None:
        labels = digit_labels(range(60))
        assert self.push(room, labels, "--dry-run").exit_code == 0
        assert keys(room) == []
        assert self.push(room, labels).exit_code == 0
        [key] = keys(room)
        assert f"wait already as {key}" in str(self.push(room, labels).exception)
        judged(room)
        assert f"taken in as {key}, in digits/v1" in str(self.push(room, labels).exception)
        known = self.push(room, digit_labels(range(30), labeler="bo"))
        assert (known.exit_code, known.exception.exit_code) == (1, 11)
        assert "all 30 ids are in digits/v1 already" in str(known.exception)
        assert keys(room) == []
        assert self.push(room, digit_labels(range(30), labeler="bo"), "--anyway").exit_code == 0
        some = self.push(room, digit_labels(range(50, 70), labeler="cy"))
        assert "10 of their ids have a label already" in some.stdout
        assert len(keys(room)) == 2

    def test_what_is_in_quarantine_has_the_door_named(self, room: Room) -> None:
        labels = digit_labels(range(60))
        assert self.push(room, labels).exit_code == 0
        [key] = keys(room)
        judged(room, QUALITY.model_copy(update={"overlap_required": True}))
        told = str(self.push(room, labels).exception)
        assert f"in quarantine as {key}" in told
        assert f"ratchet labels quarantine show {key} --task digits" in told
