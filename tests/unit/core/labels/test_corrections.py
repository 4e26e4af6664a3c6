"""Who is believed against an accepted label, and what rows say afterwards."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.corrections import corrected, corrections_of, joined_overlays, overlay_of, settle_new
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.tables import incoming_schema

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
INPUTS = [{"name": "x", "type": "number"}]
CATEGORY = ExampleSchema.model_validate({"inputs": INPUTS, "output": {"type": "category", "classes": ["a", "b", "c"]}})
NUMBER = ExampleSchema.model_validate({"inputs": INPUTS, "output": {"type": "number"}})
TAGS = ExampleSchema.model_validate({"inputs": INPUTS, "output": {"type": "tags", "classes": ["a", "b"]}})
REVIEWERS = ("rita",)
Said = tuple[str, str, Any, Any, int]
"""id, labeler, label, known label, minutes. A labeler in capitals says that the opinion corrects."""


def incoming(said: list[Said], schema: ExampleSchema = CATEGORY) -> pa.Table:
    rows = [
        {
            "id": example,
            "inputs": {"x": 1.0},
            "label": label,
            "labeler": labeler.lower(),
            "labeled_at": NOON + timedelta(minutes=minutes),
            "corrects": labeler.isupper(),
            "shard": "s",
            "split": "train",
            "known_label": known,
        }
        for example, labeler, label, known, minutes in said
    ]
    return pa.Table.from_pylist(rows, schema=incoming_schema(schema))


def put_right(said: list[Said], schema: ExampleSchema = CATEGORY, overlay: pa.Table | None = None) -> dict[str, Any]:
    table = incoming(said, schema)
    found = corrections_of(table, schema.output, reviewers=REVIEWERS, overlay=overlay)
    ids = table["id"].take(pa.array(found.rows)).to_pylist()
    assert ids == sorted(set(ids)), "each example once, in order"
    return dict(zip(ids, found.labels.to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], {}),
        ([("1", "ann", "b", None, 0)], {}),
        ([("1", "ann", "b", "a", 0)], {}),
        ([("1", "rita", "b", "a", 0)], {"1": "b"}),
        ([("1", "rita", "a", "a", 0)], {}),
        ([("1", "rita", "b", "a", 0), ("1", "rita", "c", "a", 1)], {"1": "c"}),
        ([("1", "rita", "c", "a", 1), ("1", "rita", "b", "a", 0)], {"1": "c"}),
        ([("1", "rita", "b", "a", 0), ("1", "ann", "c", "a", 5), ("1", "ben", "c", "a", 5)], {"1": "b"}),
        ([("1", "rita", "a", "a", 0), ("1", "ann", "c", "a", 5), ("1", "ben", "c", "a", 5)], {}),
        ([("1", "ann", "b", "a", 0), ("1", "ben", "b", "a", 0)], {"1": "b"}),
        ([("1", "ann", "b", "a", 0), ("1", "ben", "b", "a", 0), ("1", "cy", "a", "a", 0)], {}),
        ([("1", "ann", "b", "a", 0), ("1", "ben", "c", "a", 0)], {}),
        ([("1", "ann", "b", "a", 0), ("1", "ann", "b", "a", 1)], {}),
        ([("1", "ann", "b", "a", 0), ("2", "ben", "b", "a", 0), ("2", "rita", "c", "a", 0)], {"2": "c"}),
        ([("1", "ANN", "b", "a", 0)], {"1": "b"}),
        ([("1", "ANN", "a", "a", 0)], {}),
        ([("1", "ANN", "b", None, 0)], {}),
        ([("1", "ANN", "b", "a", 0), ("1", "BEN", "c", "a", 1)], {"1": "c"}),
        ([("1", "ANN", "b", "a", 1), ("1", "rita", "c", "a", 0)], {"1": "b"}),
        ([("1", "ANN", "b", "a", 0), ("1", "ben", "c", "a", 1), ("1", "cy", "c", "a", 1)], {"1": "b"}),
        ([("1", "ANN", "b", "a", 0), ("1", "ann", "c", "a", 1)], {"1": "b"}),
        ([("1", "ann", "c", "a", 0), ("1", "ANN", "b", "a", 1)], {"1": "b"}),
    ],
)
def test_a_reviewer_or_a_correction_is_believed_and_others_when_they_outvote_the_known_label(
    said: list[Said], expected: dict[str, str]
) -> None:
    assert put_right(said) == expected


def test_numbers_are_not_put_right_by_votes() -> None:
    said: list[Said] = [("1", "ann", 2.0, 1.0, 0), ("1", "ben", 2.0, 1.0, 0), ("2", "rita", 3.0, 1.0, 0)]
    assert put_right([*said, ("3", "ANN", 4.0, 1.0, 0)], NUMBER) == {"2": 3.0, "3": 4.0}


def test_what_was_said_before_the_correction_that_stands_changes_nothing() -> None:
    stands = incoming([("1", "rita", "b", "a", 5), ("9", "rita", "b", "a", 5)])
    said: list[Said] = [("1", "ANN", "c", "b", 4), ("2", "ANN", "c", "b", 4)]
    assert put_right(said, overlay=stands) == {"2": "c"}
    assert put_right([("1", "ANN", "c", "b", 5)], overlay=stands) == {"1": "c"}
    late: list[Said] = [("1", "ann", "c", "b", 4), ("1", "ben", "c", "b", 9)]
    assert put_right(late, overlay=stands) == {}


def reliable(*careless: str) -> list[Said]:
    """Thirty new examples on which ann, ben and cy agree, and each careless labeler says something else."""
    said: list[Said] = []
    for number in range(30):
        label = "abc"[number % 3]
        said += [(f"n{number}", name, label, None, 0) for name in ("ann", "ben", "cy")]
        said += [(f"n{number}", name, "abc"[(number + 1 + place) % 3], None, 0) for place, name in enumerate(careless)]
    return said


def test_by_weight_two_careless_labelers_put_nothing_right_and_settle_nothing() -> None:
    said = [*reliable("dan", "eve"), ("1", "dan", "b", "a", 0), ("1", "eve", "b", "a", 0)]
    said += [("2", "ann", "c", None, 0), ("2", "dan", "b", None, 0), ("2", "eve", "b", None, 0)]
    said += [("3", "ann", "b", "a", 0), ("3", "ben", "b", "a", 0), ("3", "dan", "c", "a", 0)]
    table = incoming(said)
    new = np.flatnonzero(pc.is_null(table["known_label"]).to_numpy(zero_copy_only=False))
    for by_weight, put_right, label in ((False, ["1", "3"], "b"), (True, ["3"], "c")):
        found = corrections_of(table, CATEGORY.output, reviewers=REVIEWERS, by_weight=by_weight)
        assert table["id"].take(pa.array(found.rows)).to_pylist() == put_right
        settled = settle_new(table.take(pa.array(new)), CATEGORY.output, reviewers=REVIEWERS, by_weight=by_weight)
        ids = table["id"].take(pa.array(new[settled.rows])).to_pylist()
        assert dict(zip(ids, settled.labels.to_pylist(), strict=True))["2"] == label
        assert len(ids) == 31 == len(set(ids)) and ids == sorted(ids)


def test_by_weight_one_labeler_alone_puts_nothing_right() -> None:
    table = incoming([("1", "ann", "b", "a", 0), ("2", "ben", "b", "a", 0), ("2", "ANN", "c", "a", 0)])
    found = corrections_of(table, CATEGORY.output, reviewers=REVIEWERS, by_weight=True)
    assert found.labels.to_pylist() == ["c"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([("1", "ANN", "b", None, 0)], {"1": "b"}, id="nothing-to-correct"),
        pytest.param([("1", "ann", "a", None, 0), ("1", "ben", "b", None, 0)], {}, id="tie"),
        pytest.param([("1", "ann", "a", None, 5), ("1", "BEN", "b", None, 0)], {"1": "b"}, id="correction"),
        pytest.param([("1", "ann", "a", None, 0), ("1", "rita", "b", None, 0)], {"1": "b"}, id="reviewer"),
        pytest.param([("1", "ANN", "a", None, 1), ("1", "rita", "b", None, 0)], {"1": "a"}, id="newest"),
        pytest.param([("2", "ANN", "a", None, 1), ("1", "ben", "b", None, 0)], {"1": "b", "2": "a"}, id="others"),
    ],
)
def test_a_correction_in_the_batch_of_what_it_corrects_stands(said: list[Said], expected: dict[str, str]) -> None:
    """As if the other opinions had been taken in before."""
    table = incoming(said)
    settled = settle_new(table, CATEGORY.output, reviewers=REVIEWERS)
    ids = table["id"].take(pa.array(settled.rows)).to_pylist()
    assert ids == sorted(expected)
    assert dict(zip(ids, settled.labels.to_pylist(), strict=True)) == expected
    rows = table.take(pa.array(settled.rows))["label"].to_pylist()
    assert rows == settled.labels.to_pylist(), "the row is one that says it"


def test_tags_are_compared_as_sets() -> None:
    said: list[Said] = [("1", "rita", ["a"], ["a", "b"], 0), ("2", "rita", ["a", "b"], ["a", "b"], 0)]
    assert put_right(said, TAGS) == {"1": ["a"]}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("123"),
            st.sampled_from(["ann", "ben", "cy", "rita", "ANN", "CY"]),
            st.sampled_from("abc"),
            st.integers(0, 9),
        ),
        max_size=14,
    )
)
def test_a_correction_is_said_by_a_word_last_or_by_two_who_outvote(
    opinions: list[tuple[str, str, str, int]],
) -> None:
    found = put_right([(example, labeler, label, "a", minutes) for example, labeler, label, minutes in opinions])
    for example, label in found.items():
        latest: dict[str, tuple[int, str]] = {}
        words: list[tuple[int, str]] = []
        for of, labeler, said, minutes in opinions:
            if of == example and (labeler not in latest or latest[labeler][0] <= minutes):
                latest[labeler] = (minutes, said)
            if of == example and (labeler == "rita" or labeler.isupper()):
                words.append((minutes, said))
        if words:
            newest = max(minutes for minutes, _ in words)
            assert label == [said for minutes, said in words if minutes == newest][-1]
            continue
        votes = [said for _, said in latest.values()]
        rivals = max([votes.count(other) + (other == "a") for other in "abc" if other != label])
        assert votes.count(label) >= 2 and votes.count(label) > rivals
        assert label != "a"


@pytest.mark.parametrize(
    ("schema", "old", "new"), [(CATEGORY, "a", "b"), (NUMBER, 1.0, 2.5), (TAGS, ["a"], ["a", "b"])]
)
def test_rows_get_the_newest_label_and_all_else_stays(schema: ExampleSchema, old: Any, new: Any) -> None:
    rows = incoming([(str(number), "ann", old, None, 0) for number in range(5)], schema)
    first = incoming([("1", "rita", old, old, 1), ("3", "rita", new, old, 1)], schema)
    second = incoming([("1", "rita", new, old, 2)], schema)
    overlays = [
        overlay_of(each, corrections_of(each, schema.output, reviewers=REVIEWERS), schema) for each in (second, first)
    ]
    after = corrected(rows, joined_overlays(overlays))
    assert after.schema.equals(rows.schema)
    assert after["label"].to_pylist() == [old, new, old, new, old]
    assert after["labeler"].to_pylist() == ["ann", "rita", "ann", "rita", "ann"]
    assert after["id"].to_pylist() == rows["id"].to_pylist()
    assert after.select(["id", "label"]).num_rows == 5
    assert corrected(rows.select(["id", "label"]), joined_overlays(overlays)).column_names == ["id", "label"]


def test_the_newest_overlay_of_an_id_counts() -> None:
    kind = pa.schema([("id", pa.string()), ("label", pa.string())])
    newest = pa.table({"id": ["1"], "label": ["c"]}, schema=kind)
    older = pa.table({"id": ["1", "2"], "label": ["b", "b"]}, schema=kind)
    joined = joined_overlays([newest, older])
    assert joined is not None and joined.to_pydict() == {"id": ["1", "2"], "label": ["c", "b"]}
    assert joined_overlays([]) is None


def test_the_cost_is_that_of_what_is_touched() -> None:
    """No row of an untouched shard is copied."""
    rows = incoming([(str(number), "ann", "a", None, 0) for number in range(3)])
    overlay = pa.table(
        {
            "id": ["9"],
            "label": ["b"],
            "labeler": ["rita"],
            "labeled_at": pa.array([NOON], rows.schema.field("labeled_at").type),
        }
    )
    assert corrected(rows, overlay) is rows
    assert np.array_equal(rows["id"].to_numpy(), ["0", "1", "2"])
