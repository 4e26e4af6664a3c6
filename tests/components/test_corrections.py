"""An accepted label is put right: by a reviewer, by a correction that says so, or by two others; without moving the
example or accusing anybody."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ratchet.actions.labels.erasing import erase
from ratchet.actions.labels.history import opinions_about
from ratchet.actions.labels.labelers import list_labelers
from ratchet.actions.labels.rows import fetch_split
from ratchet.core.labels.erasure import ErasureOrder
from ratchet.core.labels.shards import SPLITS, Label, render_labels
from tests.components.data import NOON, QUALITY, SPEC, Room, digit_labels, digits
from tests.components.erasing_world import holders_of, unwatched
from tests.stores import label_stores

REVIEWED = SPEC.model_copy(update={"reviewers": ("rita",)})


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """One accepted version with thirty wrong labels of three hundred: released, since their labeler would be named."""
    room = Room(tmp_path)
    for start, labeler in ((0, "ann"), (100, "ben"), (200, "cy")):
        rows = list(range(start, start + 100))
        room.push(digit_labels(rows, labeler=labeler, num_wrong=10))
    version, _ = room.ingest(REVIEWED)
    lenient = {"contradicted_excess_max": None}
    assert room.validate(version, QUALITY.model_copy(update=lenient), REVIEWED).verdict == "accepted"
    return room


def labels_of(room: Room, version: str) -> dict[str, str]:
    """As training reads them, by id; the split of each must be the same as before."""
    found: dict[str, str] = {}
    manifest = room.datasets.fetch_manifest(version)
    for split in SPLITS:
        path = Path(room.path(f"{split}.parquet"))
        fetch_split(room.datasets, manifest, split, path, spec=REVIEWED)
        found |= {row["id"]: row["label"] for row in pq.read_table(path).to_pylist()}
    return found


def true_label(example: str) -> str:
    return str(digits()[1][int(example.removeprefix("digit-"))])


def corrections(rows: list[int], *, labeler: str, minutes: int = 60, num_wrong: int = 0) -> list[Label]:
    said = digit_labels(rows, labeler=labeler, minutes=minutes, num_wrong=num_wrong)
    return [label.model_copy(update={"corrects": True}) for label in said]


def wrong_ids() -> list[int]:
    return [start + number for start in (0, 100, 200) for number in range(10)]


def test_a_reviewer_who_corrects_thirty_labels_is_believed_and_not_named(room: Room) -> None:
    before = labels_of(room, "digits/v1")
    room.push(digit_labels(wrong_ids(), labeler="rita", minutes=60))
    version, num_new = room.ingest(REVIEWED)
    verdict = room.validate(version, spec=REVIEWED)
    assert verdict.verdict == "accepted", verdict.summary()
    assert num_new == 0
    after = labels_of(room, version)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {f"digit-{row}" for row in wrong_ids()}
    assert all(label == true_label(name) for name, label in after.items())
    assert labels_of(room, "digits/v1") == before, "what was published stays as it was"


def test_a_correction_that_says_so_is_believed_whoever_sends_it_and_kept_as_one(room: Room) -> None:
    before = labels_of(room, "digits/v1")
    key = room.push(corrections([0, 1], labeler="mallory"))
    version, num_new = room.ingest(REVIEWED)
    assert num_new == 0
    after = labels_of(room, version)
    assert {name for name in after if after[name] != before[name]} == {"digit-0", "digit-1"}
    assert room.validate(version, spec=REVIEWED).verdict == "accepted"
    stores = label_stores(room.labels, room.datasets, room.objects)
    told = opinions_about(stores, REVIEWED.examples, "digit-0", task="digits", watch=lambda *_: None)
    assert [(each.labeler, each.corrects) for each in told] == [("ann", False), ("mallory", True)]
    assert told[1].shard == key


def test_a_correction_that_arrives_with_what_it_corrects_stands_and_one_of_nothing_is_a_label(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.push(digit_labels([0, 1, 2], labeler="ann", num_wrong=2))
    room.push(corrections([0, 50], labeler="ben"))
    version, num_new = room.ingest(REVIEWED)
    assert num_new == 4
    found = labels_of(room, version)
    assert [found[f"digit-{row}"] == true_label(f"digit-{row}") for row in (0, 1, 2, 50)] == [True, False, True, True]


def test_an_older_correction_that_arrives_later_changes_nothing(room: Room) -> None:
    """Of a correction, of one that repeats the accepted label, and of one that came with what it corrects."""
    room.push(corrections([0, 50], labeler="ben", minutes=60))
    room.push(digit_labels([400], labeler="ann", num_wrong=1))
    room.push(corrections([400], labeler="ben", minutes=60))
    version, _ = room.ingest(REVIEWED)
    assert room.validate(version, spec=REVIEWED).verdict == "accepted"
    room.push(corrections([0, 50, 400], labeler="cy", minutes=59, num_wrong=3))
    version, _ = room.ingest(REVIEWED)
    after = labels_of(room, version)
    assert all(after[f"digit-{row}"] == true_label(f"digit-{row}") for row in (0, 50, 400))


def test_a_shard_whose_correction_is_no_boolean_is_set_aside_with_field_and_next_step(room: Room) -> None:
    line = render_labels(corrections([0], labeler="ben")).replace(b'"corrects":true', b'"corrects":"yes"')
    room.labels.put_shard("digits", line, num_labels=1)
    room.push(corrections([1], labeler="ben"))
    version, _ = room.ingest(REVIEWED)
    verdict = room.validate(version, spec=REVIEWED)
    ((_, reason),) = verdict.inputs["rejected"].items()
    assert "line 1: `corrects` must be true or false, found 'yes'. Correct it and push the file again" in reason
    assert labels_of(room, version)["digit-1"] == true_label("digit-1"), "those beside it are taken in"


@pytest.mark.parametrize("is_told", [True, False])
def test_who_corrects_thirty_wrong_labels_is_believed_or_asked_about_and_not_blamed(room: Room, is_told: bool) -> None:
    """Without a role: told, the correction counts at once; untold, the verdict asks for that."""
    said = digit_labels(wrong_ids(), labeler="mallory", minutes=60)
    room.push(corrections(wrong_ids(), labeler="mallory") if is_told else said)
    version, _ = room.ingest(REVIEWED)
    verdict = room.validate(version, spec=REVIEWED)
    assert verdict.verdict == "accepted", verdict.summary()
    after = labels_of(room, version)
    is_right = {after[f"digit-{row}"] == true_label(f"digit-{row}") for row in wrong_ids()}
    assert is_right == {is_told}
    (disputed,) = [reason for reason in verdict.reasons if reason.check == "disputed labels"]
    assert disputed.text.startswith("30 of 30 opinions contradict the accepted label of their example: ")
    assert ", 0 likely wrong, " in disputed.text
    assert ('`"corrects": true`' in disputed.text) == (not is_told)
    page = Path(room.path("report.html")).read_text()
    assert "Disputed labels" in page and "digit-200" in page and "likely right" in page


@pytest.mark.parametrize("is_told", [True, False])
def test_who_flips_thirty_right_labels_is_not_believed(room: Room, is_told: bool) -> None:
    rows = list(range(20, 50))
    said = digit_labels(rows, labeler="carl", minutes=60, num_wrong=30)
    room.push(corrections(rows, labeler="carl", num_wrong=30) if is_told else said)
    version, _ = room.ingest(REVIEWED)
    verdict = room.validate(version, spec=REVIEWED)
    assert verdict.verdict == "refused"
    assert {reason.check for reason in verdict.reasons if not reason.passed} >= {"agreement of carl"}
    room.push(digit_labels([300], labeler="ann", minutes=90))
    version, _ = room.ingest(REVIEWED)
    after = labels_of(room, version)
    assert all(after[f"digit-{row}"] == true_label(f"digit-{row}") for row in rows), "they are left out"


def test_a_corrector_is_not_suspected_on_the_page_of_labelers(room: Room) -> None:
    room.push(corrections(wrong_ids(), labeler="mallory"))
    version, _ = room.ingest(REVIEWED)
    assert room.validate(version, spec=REVIEWED).verdict == "accepted"
    stores = label_stores(room.labels, room.datasets, room.objects)
    rows = list_labelers(stores, REVIEWED, QUALITY, watch=lambda *_: None).rows
    (mallory,) = [row for row in rows if row.labeler == "mallory"]
    assert mallory.status != "suspected", mallory.reason
    assert mallory.num_corrections_made == 30


def test_without_a_classifier_nobody_is_blamed_for_one_word_against_another_and_the_verdict_says_so(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path)
    room.push(digit_labels(list(range(40)), labeler="ann"))
    version, _ = room.ingest()
    assert room.validate(version, QUALITY.model_copy(update={"class_coverage_ratio_min": 0.0})).verdict == "accepted"
    room.push(digit_labels(list(range(40)), labeler="ben", minutes=5, num_wrong=30))
    version, _ = room.ingest()
    verdict = room.validate(version)
    assert verdict.verdict == "accepted", verdict.summary()
    (disputed,) = [reason for reason in verdict.reasons if reason.check == "disputed labels"]
    assert "30 undecided, by what labelers say alone (a classifier is not asked: " in disputed.text


def test_by_the_policy_consensus_settles_and_two_careless_labelers_outvote_nobody(tmp_path: Path) -> None:
    for by_weight in (False, True):
        room = Room(tmp_path)
        rows = list(range(40))
        for name in ("ann", "ben"):
            room.push(digit_labels(rows, labeler=name))
        for shift, name in ((1, "carl"), (2, "dora")):
            said = digit_labels(rows, labeler=name)
            room.push([each.model_copy(update={"label": str((int(each.label) + shift) % 10)}) for each in said])
        room.push(digit_labels([50], labeler="ann"))
        for name in ("carl", "dora"):
            room.push(digit_labels([50], labeler=name, num_wrong=1))
        version, num_new = room.ingest(by_weight=by_weight)
        assert num_new == 41
        assert (labels_of(room, version)["digit-50"] == true_label("digit-50")) == by_weight


def test_two_who_say_the_same_are_believed(room: Room) -> None:
    room.push(digit_labels([3], labeler="dan", minutes=60))
    room.push(digit_labels([3], labeler="eve", minutes=61))
    version, _ = room.ingest(REVIEWED)
    assert labels_of(room, version)["digit-3"] == true_label("digit-3")


def test_a_correction_costs_what_it_touches(room: Room) -> None:
    first = room.datasets.fetch_manifest("digits/v1")
    room.push(digit_labels([3], labeler="rita", minutes=60))
    version, _ = room.ingest(REVIEWED)
    second = room.datasets.fetch_manifest(version)
    assert second.shards == first.shards
    assert [file.num_rows for file in second.overlays] == [1]
    assert len(room.datasets.fetch_shard(second.overlays[0])) < 4_000
    assert (second.num_labels, sum(second.num_labels_by_class.values())) == (300, 300)


def test_the_newest_of_many_corrections_counts_and_overlays_stay_few(room: Room) -> None:
    for turn in range(8):
        label = digit_labels([3], labeler="rita", minutes=60 + turn)[0].model_copy(update={"label": str(turn % 10)})
        room.push([label])
        version, _ = room.ingest(REVIEWED)
        assert room.validate(version, spec=REVIEWED).verdict == "accepted"
        assert labels_of(room, version)["digit-3"] == str(turn % 10)
    manifest = room.datasets.fetch_manifest(version)
    assert len(manifest.overlays) <= 4
    assert sum(manifest.num_labels_by_class.values()) == 300
    room.push(digit_labels([3], labeler="late", minutes=99))
    room.ingest(REVIEWED)
    (known,) = pq.read_table(room.path("incoming"))["known_label"].to_pylist()
    assert known == "7", "the index knows the corrected label"
    (twin,) = pq.read_table(room.path("incoming"))["known_twin_split"].to_pylist()
    assert twin is None, "an example is no twin of itself"


def test_a_corrected_example_can_be_erased(room: Room) -> None:
    room.push(digit_labels([3, 4], labeler="rita", minutes=60))
    version, _ = room.ingest(REVIEWED)
    assert room.validate(version, spec=REVIEWED).verdict == "accepted"
    order = ErasureOrder(ids=("digit-3",), by="maria", reason="x", at=NOON)
    record = erase(holders_of(room), "digits", order, now=lambda: NOON, watch=unwatched)
    assert record.num_rows == 1
    assert "digit-3" not in labels_of(room, version)
    manifest = room.datasets.fetch_manifest(version)
    held = [pq.read_table(io.BytesIO(room.datasets.fetch_shard(file))) for file in manifest.overlays]
    assert [name for table in held for name in table["id"].to_pylist()] == ["digit-4"]
    assert sum(manifest.num_labels_by_class.values()) == manifest.num_labels == 299
