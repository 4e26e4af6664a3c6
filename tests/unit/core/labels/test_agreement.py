"""Opinions by column: the same as counting them one by one, for labels of each type."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.agreement import settle_labels
from ratchet.core.labels.label_values import index_texts, labels_of_texts, tags_in_order
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec, TagsOutput
from tests.opinions import Opinion, agreement_of, said_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OUTPUTS: dict[str, tuple[OutputSpec, pa.DataType, tuple[Any, ...]]] = {
    "category": (CategoryOutput(classes=("x", "y", "z")), pa.string(), ("x", "y", "z")),
    "number": (NumberOutput(tolerance=0.5), pa.float64(), (0.0, 0.5, 1.0, 2.5)),
    "tags": (TagsOutput(classes=("a", 'b"', "c, d")), pa.list_(pa.string()), ([], ["a"], ["a", 'b"'], ["c, d"])),
}


def opinions(kind: str) -> st.SearchStrategy[list[Opinion]]:
    row = st.tuples(
        st.integers(0, 4),
        st.sampled_from(OUTPUTS[kind][2]),
        st.sampled_from("abcd"),
        st.integers(0, 2),
        st.sampled_from("st"),
    )
    return st.lists(
        row.map(lambda row: Opinion(f"e{row[0]}", row[1], row[2], NOON + timedelta(minutes=row[3]), row[4])),
        max_size=30,
    )


def latest(said: Sequence[Opinion]) -> list[Opinion]:
    newest: dict[tuple[str, str], Opinion] = {}
    for each in said:
        place = (each.id, each.labeler)
        if place not in newest or (newest[place].labeled_at, newest[place].shard) <= (each.labeled_at, each.shard):
            newest[place] = each
    return list(newest.values())


def settled_one_by_one(said: Sequence[Opinion], output: OutputSpec) -> dict[str, tuple[Any, str]]:
    """Id to (label, labeler of the first opinion that says it)."""
    by_id: dict[str, list[Opinion]] = defaultdict(list)
    for each in latest(said):
        by_id[each.id].append(each)
    found: dict[str, tuple[Any, str]] = {}
    for of, voices in sorted(by_id.items()):
        oldest_first = sorted(voices, key=lambda each: (each.labeled_at, each.shard, each.labeler))
        if isinstance(output, NumberOutput):
            found[of] = (median(float(str(each.label)) for each in voices), oldest_first[0].labeler)
            continue
        ranked = Counter(str(each.label) for each in voices).most_common(2)
        if len(ranked) == 1 or ranked[0][1] > ranked[1][1]:
            winner = next(each for each in oldest_first if str(each.label) == ranked[0][0])
            found[of] = (winner.label, winner.labeler)
    return found


@pytest.mark.parametrize("kind", OUTPUTS)
@given(data=st.data())
def test_labels_settle_as_if_counted_one_by_one(kind: str, data: Any) -> None:
    output, arrow, _ = OUTPUTS[kind]
    said = data.draw(opinions(kind))
    settled = settle_labels(said_of(said, kind=arrow), output)
    found = {
        said[row].id: (label, said[row].labeler)
        for row, label in zip(settled.rows, settled.labels.to_pylist(), strict=True)
    }
    assert found == settled_one_by_one(said, output)
    assert list(found) == sorted(found)


@pytest.mark.parametrize("kind", OUTPUTS)
@given(data=st.data())
def test_disagreement_is_that_of_each_pair_of_voices(kind: str, data: Any) -> None:
    output, arrow, values = OUTPUTS[kind]
    said = data.draw(opinions(kind))
    known = data.draw(st.dictionaries(st.sampled_from([f"e{number}" for number in range(5)]), st.sampled_from(values)))
    records = agreement_of(
        said, known, confidence=0.9, num_judged_min=1, output=output, kind=arrow, noise_by_id={"e0": 0.25}
    )

    def differ(one: Any, other: Any) -> bool:
        return abs(one - other) > 0.5 if kind == "number" else bool(one != other)

    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in latest(said):
        others = [voice.label for voice in latest(said) if voice.id == each.id and voice is not each]
        others += [known[each.id]] if each.id in known else []
        differs = np.mean([differ(each.label, other) for other in others]) if others else 0
        among = [differ(one, other) for place, one in enumerate(others) for other in others[:place]]
        if len(others) > 1:
            pairs[each.labeler].append((float(differs), float(np.mean(among))))
        elif len(others) == 1 and each.id in known and each.id == "e0":
            pairs[each.labeler].append((float(differs), 0.25))
    assert [record.labeler for record in records] == sorted({each.labeler for each in said})
    for record in records:
        assert record.num_judged == len(pairs[record.labeler])
        if pairs[record.labeler]:
            ratio, expected = np.mean(pairs[record.labeler], axis=0)
            assert (record.ratio, record.expected_ratio) == pytest.approx((ratio, expected))


def test_numbers_without_a_tolerance_neither_agree_nor_differ() -> None:
    said = [Opinion("e", float(number), f"r{number}", NOON, "s") for number in range(3)]
    records = agreement_of(said, {}, confidence=0.9, num_judged_min=1, output=NumberOutput(), kind=pa.float64())
    assert [record.num_judged for record in records] == [0, 0, 0]


@pytest.mark.parametrize("kind", OUTPUTS)
def test_labels_survive_the_index(kind: str) -> None:
    output, arrow, values = OUTPUTS[kind]
    labels = pa.array([*values, *reversed(values)], arrow)
    texts = index_texts(labels, output)
    assert pa.types.is_string(texts.type) and labels_of_texts(texts, output).equals(labels)
    gone = labels_of_texts(pa.array([None, "gone"]), output).to_pylist()
    assert gone == ([None, "gone"] if kind == "category" else [None, None])


def test_tags_are_a_set_in_the_order_of_the_task() -> None:
    tags = pa.array([["c", "a", "c"], [], ["b"]], pa.list_(pa.string()))
    assert tags_in_order(tags, TagsOutput(classes=("a", "b", "c"))).to_pylist() == [["a", "c"], [], ["b"]]
    assert tags_in_order(tags.slice(1), TagsOutput(classes=("a", "b", "c"))).to_pylist() == [[], ["b"]]
