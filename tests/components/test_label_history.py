"""`ratchet labels history`: every opinion about one example, wherever it lies."""

from pathlib import Path

from ratchet.actions.labels.history import SaidOpinion, opinions_about
from tests.components.data import NOON, SPEC, Room, digit_labels
from tests.stores import label_stores


def history(room: Room, example_id: str) -> list[SaidOpinion]:
    stores = label_stores(room.labels, room.datasets, room.objects)
    seen: list[tuple[int, int]] = []
    found = opinions_about(
        stores, SPEC.examples, example_id, task="digits", watch=lambda done, total: seen.append((done, total))
    )
    assert not seen or seen[-1][0] == seen[-1][1]
    return list(found)


def test_opinions_are_told_with_what_became_of_them(tmp_path: Path) -> None:
    room = Room(tmp_path)
    taken_in = room.push(digit_labels(list(range(100)), labeler="ann"))
    version, _ = room.ingest()
    assert room.validate(version).verdict == "accepted"
    waits = room.push(digit_labels([7, 8], labeler="ben", minutes=5))
    found = history(room, "digit-7")
    assert [(each.labeler, each.state, each.shard) for each in found] == [
        ("ann", "taken in", taken_in),
        ("ben", "waits", waits),
    ]
    assert found[0].label == found[1].label and found[0].labeled_at == NOON
    assert history(room, "nobody") == []


def test_what_is_in_quarantine_is_told_so(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.push(digit_labels(list(range(200)), labeler="ann"))
    version, _ = room.ingest()
    assert room.validate(version).verdict == "accepted"
    room.push(digit_labels(list(range(100)), labeler="carl", num_wrong=60, minutes=5))
    version, _ = room.ingest()
    assert room.validate(version).verdict == "refused"
    assert [(each.labeler, each.state) for each in history(room, "digit-7")] == [
        ("ann", "taken in"),
        ("carl", "in quarantine"),
    ]


def test_a_shard_that_cannot_be_read_holds_no_opinion(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.labels.put_shard("digits", b'{"id": "digit-7"\n', num_labels=1)
    assert history(room, "digit-7") == []
