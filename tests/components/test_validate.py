"""validate: what is refused, who is named, which shards are left out afterwards."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from statsmodels.datasets import fair

from ratchet.actions.labels.reading import read_shard
from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.labels.queue_marks import QueueMark, render_mark
from ratchet.core.labels.shards import Label, render_labels, split_of
from ratchet.stores.verdicts import Verdicts
from ratchet.tasks.spec import FeatureSpec
from tests.components.data import NOON, QUALITY, SPEC, Room, digit_labels
from tests.models import changed


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_careful_labelers_are_accepted_and_the_verdict_counts(room: Room) -> None:
    keys = [room.push(digit_labels(range(200))), room.push(digit_labels(range(150, 350), labeler="bo", num_wrong=2))]
    version, _ = room.ingest()
    verdict = room.validate(version)
    assert verdict.verdict == "accepted", verdict.summary()
    assert (verdict.inputs["shards"], verdict.inputs["quarantined"], verdict.inputs["watermark"]) == (
        keys,
        [],
        keys[-1],
    )
    assert Verdicts(room.objects, "ratchet").fetch(version) == verdict
    page = Path(room.path("report.html")).read_text()
    assert "Labels of digits/v1" in page


def test_agreement_beyond_chance_is_told_with_its_bounds_in_verdict_and_page(room: Room) -> None:
    room.push(digit_labels(range(200)))
    room.push(digit_labels(range(150, 350), labeler="bo", num_wrong=2))
    verdict = room.validate(room.ingest()[0])
    found = verdict.inputs["agreement"]
    assert (found["num_examples"], found["num_labelers"]) == (50, 2)
    alpha = found["krippendorff_alpha"]
    assert 0 < alpha["low"] < alpha["value"] < alpha["high"] <= 1 and len(found["by_class"]) == 10
    assert (
        f"Krippendorff&#x27;s alpha (nominal) is {alpha['value']:.3f} (" in Path(room.path("report.html")).read_text()
    )
    room.push(digit_labels(range(400, 500)))
    later = room.validate(room.ingest()[0])
    [told] = [reason for reason in later.reasons if reason.check == "agreement beyond chance"]
    assert told.value is None and "0 examples have two or more opinions" in told.text and "20 are needed" in told.text


@pytest.mark.parametrize("overlap_is", ["in-the-parent", "in-the-batch"])
def test_a_careless_labeler_is_refused_by_name_and_the_others_go_on(room: Room, overlap_is: str) -> None:
    shared = range(40, 80)
    first = room.push(digit_labels(range(200)))
    if overlap_is == "in-the-parent":
        room.validate(room.ingest()[0])
    careless = digit_labels(shared, labeler="mallory <b>", num_wrong=14) + digit_labels(
        range(200, 320), labeler="mallory <b>", num_wrong=40
    )
    bad, good = room.push(careless), room.push(digit_labels(range(320, 420), labeler="cy"))
    version, _ = room.ingest()
    verdict = room.validate(version)
    assert verdict.verdict == "refused"
    assert " labels of 'mallory <b>' are contradicted by their nearest neighbours; " in verdict.summary()
    assert "limit 3.0%" in verdict.summary()
    assert "'ada'" not in verdict.summary()
    assert verdict.inputs["quarantined"] == [bad]
    assert "mallory &lt;b&gt;" in Path(room.path("report.html")).read_text()
    retried, num_new = room.ingest()
    again = room.validate(retried)
    expected = ([good], 100) if overlap_is == "in-the-parent" else ([first, good], 300)
    assert (again.verdict, again.inputs["shards"], num_new) == ("accepted", *expected), again.summary()


def test_a_careless_labeler_shows_even_without_witnesses(room: Room) -> None:
    wrong = digit_labels(range(0, 900, 3), labeler="mallory", num_wrong=300)
    bad = room.push(wrong + digit_labels([row for row in range(900) if row % 3], labeler="mallory"))
    room.push(digit_labels(range(900, 1200)))
    verdict = room.validate(room.ingest()[0])
    assert verdict.verdict == "refused"
    assert "of 'mallory' are contradicted by their nearest neighbours" in verdict.summary()
    assert verdict.inputs["quarantined"] == [bad]


def test_one_labeler_alone_is_compared_with_what_was_accepted(room: Room) -> None:
    """Careful ones pass; the one who got a third wrong does not. Alone in the first batch nobody can be judged."""
    room.push(digit_labels(range(300)))
    first = room.validate(room.ingest()[0])
    assert first.verdict == "accepted"
    assert "not compared with their neighbours" in " ".join(reason.text for reason in first.reasons)
    room.push(digit_labels(range(300, 600), labeler="bo"))
    assert room.validate(room.ingest()[0]).verdict == "accepted"
    thirds = [label for row in range(600, 800) for label in digit_labels([row], labeler="carl", num_wrong=row % 3 == 0)]
    bad = room.push(thirds)
    verdict = room.validate(room.ingest()[0])
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [bad])
    assert " labels of 'carl' are contradicted" in verdict.summary()
    assert "of the accepted labels at the same places" in verdict.summary()


def test_a_file_of_several_labelers_is_judged_by_labeler(room: Room) -> None:
    good = [label for name in "abcd" for label in digit_labels(range(ord(name) % 4, 800, 4), labeler=name)]
    careless = digit_labels(range(800, 1000), labeler="mallory", num_wrong=90)
    mixed = room.push([*good, *careless])
    verdict = room.validate(room.ingest()[0])
    assert verdict.verdict == "refused", verdict.summary()
    assert (verdict.inputs["quarantined"], verdict.inputs["quarantined_rows"]) == ([], {mixed: ["mallory"]})
    version, num_new = room.ingest()
    again = room.validate(version)
    assert (again.verdict, again.inputs["shards"], num_new) == ("accepted", [mixed], 800), again.summary()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"features": (99.0, *(0.0,) * 63)}, "1 of 101 rows have a feature above 16", id="too-large"),
        pytest.param({"features": (-0.5, *(0.0,) * 63)}, "1 of 101 rows have a feature below 0", id="too-small"),
    ],
)
def test_a_row_out_of_range_refuses_and_names_its_shard(room: Room, values: dict[str, object], reason: str) -> None:
    room.push(digit_labels(range(100)))
    [label] = digit_labels([200])
    bad = room.push([label.model_copy(update=values)])
    verdict = room.validate(room.ingest()[0])
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [bad])
    assert f"{reason} ({bad})" in verdict.summary()


def test_an_example_in_train_and_in_test_is_leakage(room: Room) -> None:
    room.push(digit_labels(range(60)))
    train = next(label for label in digit_labels(range(60)) if split_of(label.id) == "train")
    other = next(name for name in (f"copy-{number}" for number in range(100)) if split_of(name) == "test")
    bad = room.push([train.model_copy(update={"id": other})])
    verdict = room.validate(room.ingest()[0])
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [bad])
    assert "1 of 61 examples are in train and in val or test" in verdict.summary()


SURVEY = changed(SPEC, {"classes": ("no", "yes"), "features": FeatureSpec(num_features=8, min_value=0, max_value=60)})


def survey_labels(rows: range, *, copied: int = 0) -> list[Label]:
    """Rows of a real table of categories; the first `copied` of them once more, under ids of their own."""
    table = fair.load_pandas().data.sample(frac=1, random_state=7)
    picked = [(f"reader-{row}", row) for row in rows] + [(f"copy-{row}", row) for row in rows[:copied]]
    return [
        Label(
            id=of,
            features=tuple(table.iloc[row, :8]),
            label="yes" if table.iloc[row, 8] > 0 else "no",
            labeler="redbook",
            labeled_at=NOON,
        )
        for of, row in picked
    ]


def test_equal_rows_of_a_table_of_categories_are_no_copies(room: Room) -> None:
    """In the first batch and in a small later one, which mostly meets the rows accepted before."""
    for rows in (range(2000), range(2000, 2200)):
        room.push(survey_labels(rows))
        verdict = room.validate(room.ingest(SURVEY)[0], spec=SURVEY)
        assert verdict.verdict == "accepted", verdict.summary()
        assert any("chance explains" in reason.text for reason in verdict.reasons)


def test_copies_in_a_table_of_categories_are_refused(room: Room) -> None:
    room.push(survey_labels(range(2000), copied=600))
    verdict = room.validate(room.ingest(SURVEY)[0], spec=SURVEY)
    assert verdict.verdict == "refused"
    assert "are in train and in val or test, under two ids" in verdict.summary()


def test_leakage_from_the_parent_version_counts(room: Room) -> None:
    room.push(digit_labels(range(60)))
    room.validate(room.ingest()[0])
    train = next(label for label in digit_labels(range(60)) if split_of(label.id) == "train")
    other = next(name for name in (f"copy-{number}" for number in range(100)) if split_of(name) == "test")
    room.push([train.model_copy(update={"id": other})])
    verdict = room.validate(room.ingest()[0])
    assert [reason.check for reason in verdict.failed] == ["leakage"]


def test_one_id_with_two_pictures_is_refused(room: Room) -> None:
    room.push(digit_labels(range(60)))
    [other] = digit_labels([70], labeler="bo")
    bad = room.push([other.model_copy(update={"id": "digit-3"})])
    verdict = room.validate(room.ingest()[0])
    assert (verdict.inputs["quarantined"], verdict.failed[0].check) == ([bad], "one id, one example")


def test_more_broken_shards_than_allowed_refuse_the_rest_but_quarantine_only_the_broken(room: Room) -> None:
    good = room.push(digit_labels(range(50)))
    bad = [room.labels.put_shard("digits", data, num_labels=1) for data in (b"?", b"??")]
    verdict = room.validate(room.ingest()[0])
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", bad)
    again = room.validate(room.ingest()[0])
    assert (again.verdict, again.inputs["shards"]) == ("accepted", [good])


def test_the_policy_can_demand_overlap(room: Room) -> None:
    room.push(digit_labels(range(50)))
    verdict = room.validate(room.ingest()[0], QUALITY.model_copy(update={"overlap_required": True}))
    assert "'ada' shares 0 comparable examples with others, too few to judge; 20 are needed" in verdict.summary()


def test_a_verdict_is_final_and_may_be_said_twice(room: Room) -> None:
    room.push(digit_labels(range(50)))
    version, _ = room.ingest()
    assert room.validate(version) == room.validate(version)
    with pytest.raises(Conflict, match="another verdict"):
        room.validate(version, QUALITY.model_copy(update={"overlap_required": True}))


def test_nothing_new_of_a_version_that_was_never_accepted_is_an_error(room: Room) -> None:
    room.push(digit_labels(range(50)))
    room.validate(room.ingest()[0])
    room.ingest()
    room.objects.delete("s3://ratchet/verdicts/digits/v1.json")
    with pytest.raises(DataRejected, match="not judged"):
        room.validate("digits/v1")


def marked(labels: list[Label], *, is_blind: bool, num_others: int) -> list[Label]:
    """With marks: the champion says something else of the first `num_others`."""
    return [
        label.model_copy(
            update={"queue_mark": render_mark(QueueMark("audit", is_blind, answer, "0123456789ab"), label.id)}
        )
        for place, label in enumerate(labels)
        for answer in ["none" if place < num_others else label.label]
    ]


def test_the_pull_of_shown_answers_is_told_where_there_is_enough(room: Room) -> None:
    shown, blind = digit_labels(range(60)), digit_labels(range(60, 100))
    room.push(marked(shown, is_blind=False, num_others=0) + marked(blind, is_blind=True, num_others=20))
    reasons = {reason.check: reason for reason in room.validate(room.ingest()[0]).reasons}
    assert reasons["anchoring"].value == 0.5 and "blind ones: +50.0 points (+" in reasons["anchoring"].text
    assert reasons["audited accuracy of 0123456789ab"].value == 0.8
    room.push(marked(digit_labels(range(100, 119)), is_blind=False, num_others=0))
    checks = {reason.check for reason in room.validate(room.ingest()[0]).reasons}
    assert not any(check.startswith(("anchoring", "audited")) for check in checks)


def test_a_batch_that_an_earlier_release_ingested_is_judged(room: Room) -> None:
    room.push(digit_labels(range(50)))
    version, _ = room.ingest()
    pq.write_table(pq.read_table(room.path("incoming")).drop_columns(["corrects", "queue_mark"]), room.path("incoming"))
    assert room.validate(version).verdict == "accepted"


def test_labels_survive_the_way_through_jsonl() -> None:
    labels = digit_labels(range(3))
    rows = read_shard("x.jsonl", render_labels(labels), schema=SPEC.examples).to_pylist()
    assert [(row["id"], tuple(row["inputs"]["features"]), row["label"]) for row in rows] == [
        (label.id, label.features, label.label) for label in labels
    ]
