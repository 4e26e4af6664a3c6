"""Agreement of opinions of every type: overall, by class, labeler and pair, and what the others say of each voice."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.reliability.page import reliability_text, render_reliability
from ratchet.core.labels.reliability.report import Reliability, measure_reliability
from ratchet.core.labels.reliability.voices import ACCEPTED, Voices, consensus_of_others, median_of_others, voices_of
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec, TagsOutput
from tests.opinions import LETTERS, Opinion, said_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NUMBER = NumberOutput(tolerance=0.5)
TAGS = TagsOutput(classes=("a", "b", "c"))


def voices(rows: Sequence[tuple[int, str, object]], known: dict[int, object] | None = None,
           kind: pa.DataType | None = None, **limits: int) -> Voices:  # fmt: skip
    said = [Opinion(f"e{of:03}", label, labeler, NOON, "s") for of, labeler, label in rows]
    known_N = pa.array([(known or {}).get(of) for of, _, _ in rows], kind or pa.string()) if known else None
    return voices_of(said_of(said, kind=kind), known_N, **limits)


def measured(rows: Sequence[tuple[int, str, object]], output: OutputSpec = LETTERS, kind: pa.DataType | None = None,
             known: dict[int, object] | None = None) -> Reliability:  # fmt: skip
    return measure_reliability(voices(rows, known, kind), output, num_shared_min=20)


def said_by(labeler: str, num_wrong: int, *, num: int = 60) -> list[tuple[int, str, object]]:
    return [(of, labeler, "xy"[(of + (of < num_wrong)) % 2]) for of in range(num)]


ROWS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abcde"), st.integers(0, 3)), max_size=40,
                unique_by=lambda row: row[:2])  # fmt: skip


@settings(max_examples=40)
@given(ROWS)
def test_what_the_others_say_is_their_one_most_frequent_label(rows: list[tuple[int, str, int]]) -> None:
    found = voices([(of, labeler, "xyzw"[label]) for of, labeler, label in rows])
    labels, places = found.labels.to_pylist(), consensus_of_others(found)
    for own in range(len(labels)):
        same = np.flatnonzero(found.examples_N == found.examples_N[own])
        top = Counter(labels[each] for each in same if each != own).most_common(2)
        is_tied = len(top) == 2 and top[0][1] == top[1][1]
        assert (None if places[own] < 0 else labels[places[own]]) == (None if is_tied else top[0][0])


@settings(max_examples=40)
@given(ROWS)
def test_what_the_others_say_in_numbers_is_their_median(rows: list[tuple[int, str, int]]) -> None:
    found = voices([(of, labeler, float(label)) for of, labeler, label in rows], kind=pa.float64())
    values, medians = found.numbers_N(), median_of_others(found)
    for own in range(len(values)):
        same = np.flatnonzero(found.examples_N == found.examples_N[own])
        assert medians[own] == median(values[each] for each in same if each != own)


def test_the_careless_one_has_the_least_kappa_and_the_class_that_is_mistaken_shows() -> None:
    found = measured([*said_by("ann", 0), *said_by("bo", 3), *said_by("carl", 25)])
    assert (found.num_examples, found.num_voices, found.num_labelers) == (60, 180, 3)
    kappas = {each.labeler: each.coefficient.value for each in found.by_labeler if each.coefficient}
    assert kappas["carl"] < min(kappas["ann"], kappas["bo"])
    ann = found.by_labeler[0]
    assert ann.agreement_low is not None and ann.agreement_ratio is not None and ann.agreement_high is not None
    assert 0 < ann.agreement_low < ann.agreement_ratio <= ann.agreement_high <= 1
    assert [each.name for each in found.by_class] == ["x", "y"]
    assert [(each.labelers, each.num_shared) for each in found.pairs] == [
        (("ann", "bo"), 60), (("ann", "carl"), 60), (("bo", "carl"), 60)]  # fmt: skip
    assert "Fleiss' kappa" in reliability_text(found) and "carl" in render_reliability(found)


def test_a_later_opinion_replaces_the_earlier_one_and_lone_ones_do_not_count() -> None:
    said = [Opinion("e1", "x", "ann", NOON, "s"), Opinion("e1", "y", "ann", NOON + timedelta(hours=1), "s"),
            Opinion("e1", "y", "bo", NOON, "s"), Opinion("e2", "x", "ann", NOON, "s"),
            Opinion("e3", "x", "bo", NOON, "s"), Opinion("e3", "y", "bo", NOON + timedelta(hours=1), "s")]  # fmt: skip
    found = voices_of(said_of(said))
    assert (found.ids.to_pylist(), found.labels.to_pylist()) == (["e1"], ["y", "y"])


def test_the_accepted_label_is_one_voice() -> None:
    found = measured(said_by("ann", 5), known={of: "xy"[of % 2] for of in range(30)})
    assert (found.num_examples, found.num_labelers, found.pairs[0].labelers) == (30, 1, (ACCEPTED, "ann"))
    assert "(accepted label)" in render_reliability(found)


@pytest.mark.parametrize("num", [0, 1, 19])
def test_too_little_overlap_says_so_instead_of_a_number(num: int) -> None:
    rows = [*said_by("ann", 0, num=num), *[(100 + of, "bo", "x") for of in range(50)], *said_by("bo", 0, num=num)]
    found = measured(rows)
    assert (found.krippendorff_alpha, found.fleiss_kappa, found.by_labeler) == (None, None, ())
    assert f"{num} examples have two or more opinions" in reliability_text(found)
    assert "20 are needed" in reliability_text(found) and "<table>" not in render_reliability(found)


def test_a_labeler_with_too_few_shared_examples_has_no_number() -> None:
    rows = [*said_by("ann", 0), *said_by("bo", 0), *said_by("dora", 0, num=5)]
    found = next(each for each in measured(rows).by_labeler if each.labeler == "dora")
    assert (found.num_shared, found.coefficient, found.agreement_ratio) == (5, None, None)
    assert "too few shared examples" in render_reliability(measured(rows))


def test_one_class_alone_is_told_as_undefined() -> None:
    rows = [(of, who, "x") for of in range(30) for who in ("ann", "bo")]
    assert "undefined" in reliability_text(measured(rows))


def test_numbers_are_compared_by_distance() -> None:
    draw = np.random.default_rng(1)
    worth = draw.normal(5, 2, 80)
    rows: list[tuple[int, str, object]] = [
        (of, who, float(worth[of] + draw.normal(0, spread)))
        for who, spread in (("ann", 0.1), ("bo", 0.1), ("carl", 3.0))
        for of in range(80)
    ]
    found = measured(rows, NUMBER, pa.float64())
    alphas = {each.labeler: each.coefficient.value for each in found.by_labeler if each.coefficient}
    assert found.scale == "interval" and found.fleiss_kappa is None and found.by_class == ()
    assert alphas["carl"] < min(alphas["ann"], alphas["bo"]) and "interval" in reliability_text(found)
    without = measured(rows, NumberOutput(), pa.float64()).by_labeler[0]
    assert without.agreement_ratio is None and without.coefficient is not None


def test_tags_are_sets_and_each_tag_has_its_own_number() -> None:
    def tags(of: int, *, is_wrong: bool) -> list[str]:
        return [name for place, name in enumerate("abc") if (of >> place & 1) != (is_wrong and name == "c")]

    rows: list[tuple[int, str, object]] = [
        (of, who, tags(of, is_wrong=who == "carl" and of % 3 == 0)) for who in ("ann", "bo", "carl") for of in range(80)
    ]
    found = measured(rows, TAGS, pa.list_(pa.string()))
    by_tag = {each.name: each.krippendorff_alpha.value for each in found.by_class if each.krippendorff_alpha}
    assert by_tag["a"] == by_tag["b"] == 1.0 and by_tag["c"] < 0.8
    assert found.krippendorff_alpha is not None and by_tag["c"] < found.krippendorff_alpha.value < 1


def test_of_many_opinions_whole_examples_are_drawn_the_same_each_time() -> None:
    rows = [(of, who, "x") for of in range(200) for who in ("ann", "bo")]
    one, other = (voices(rows, opinions_max=100) for _ in range(2))
    assert one.ids == other.ids and len(one.labels) == 100 and one.num_left_out == 300


def test_text_of_labelers_and_classes_is_escaped() -> None:
    rows = [(of, who, f"<{'xy'[of % 2]}>") for of in range(30) for who in ("<b>ann", "bo")]
    output = CategoryOutput(classes=("<x>", "<y>"))
    page = render_reliability(measured(rows, output))
    assert "<b>ann" not in page and "<x>" not in page and "&lt;b&gt;ann" in page


@pytest.mark.slow
def test_a_hundred_thousand_opinions_of_a_thousand_labelers_are_measured() -> None:
    draw = np.random.default_rng(3)
    num = 100_000
    ids, labelers = draw.integers(0, 40_000, num), draw.integers(0, 1_000, num)
    right = ids % 10
    labels = np.where(draw.random(num) < 0.1, draw.integers(0, 10, num), right)
    said = pa.table({
        "id": pa.array([f"e{of}" for of in ids]), "label": pa.array([str(label) for label in labels]),
        "labeler": pa.array([f"r{who}" for who in labelers]),
        "labeled_at": pa.array([NOON] * num, pa.timestamp("us", tz="UTC")), "shard": pa.array(["s"] * num),
    })  # fmt: skip
    output = CategoryOutput(classes=tuple(map(str, range(10))))
    found = measure_reliability(voices_of(said), output, num_shared_min=20)
    assert found.krippendorff_alpha is not None and 0.75 < found.krippendorff_alpha.value < 0.9
    assert found.krippendorff_alpha.high - found.krippendorff_alpha.low < 0.02
