"""The decision whether labels may teach: agreement, noise, and everything at its limit."""

from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.agreement import latest_opinions, settle_labels
from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.measured import Count, Measured, RejectedShard
from ratchet.core.labels.quality import QualityPolicy, decide_quality
from tests.opinions import LETTERS, Opinion, agreement_of, said_of

POLICY = QualityPolicy()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NONE = Count(check="c", rule="break a rule", num_bad=0, num_rows=100)


def opinions(labeler: str, labels: list[str], *, first: int = 0, minutes: int = 0) -> list[Opinion]:
    at = NOON + timedelta(minutes=minutes)
    return [
        Opinion(id=f"e{first + place}", label=label, labeler=labeler, labeled_at=at, shard=f"of-{labeler}")
        for place, label in enumerate(labels)
    ]


def measured(**changes: object) -> Measured:
    values = {
        "num_new": 100,
        "shards_by_labeler": {"ada": ("a1", "a2"), "bo": ("b1",)},
        "row_counts": (NONE,),
        "duplicates": NONE,
        "leaks": NONE,
        "agreement": (),
    }
    return Measured.model_validate({**values, **changes})


def record(labeler: str, bound: float | None, *, num_judged: int = 40) -> LabelerRecord:
    return LabelerRecord(
        labeler=labeler,
        num_judged=num_judged,
        ratio=0.35,
        expected_ratio=0.05,
        excess_lower_bound=bound,
        compared_with="nothing" if bound is None else "others",
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(["a"], ["a"], id="one"),
        pytest.param(["a", "b"], [], id="tie"),
        pytest.param(["a", "b", "b"], ["b"], id="majority"),
        pytest.param(["a", "a", "b", "b", "c"], [], id="tie-of-two-among-three"),
    ],
)
def test_majority(labels: list[str], expected: list[str]) -> None:
    said = [Opinion("e", label, f"r{number}", NOON, "s") for number, label in enumerate(labels)]
    assert settle_labels(said_of(said), LETTERS).labels.to_pylist() == expected


def test_a_labeler_may_correct_herself_and_has_one_voice() -> None:
    said = opinions("ada", ["x"]) + opinions("ada", ["y"], minutes=1) + opinions("ada", ["x"], minutes=-1)
    assert [said[row].label for row in latest_opinions(said_of(said))] == ["y"]
    assert len(settle_labels(said_of(said + opinions("bo", ["x"])), LETTERS).rows) == 0


def named(said: list[Opinion], known: dict[str, str] | None = None, **noise: float) -> list[str]:
    records = agreement_of(said, known or {}, confidence=0.99, num_judged_min=20, noise_by_id=noise or None)
    return [each.labeler for each in records if each.excess_lower_bound is not None and each.excess_lower_bound > 0.05]


@pytest.mark.parametrize(
    ("num_wrong", "num_shared", "is_named"),
    [
        pytest.param(19, 19, False, id="too-few-shared"),
        pytest.param(20, 20, True, id="just-enough-shared"),
        pytest.param(5, 20, False, id="5-of-20-may-be-bad-luck"),
        pytest.param(9, 20, True, id="9-of-20-is-not"),
        pytest.param(13, 40, True, id="a-third-of-40"),
        pytest.param(0, 400, False, id="perfect"),
        pytest.param(28, 400, False, id="28-of-400"),
        pytest.param(50, 400, True, id="50-of-400"),
    ],
)
def test_who_is_careless_by_what_is_known_and_what_is_usual_there(
    num_wrong: int, num_shared: int, is_named: bool
) -> None:
    said = opinions("ada", ["wrong"] * num_wrong + ["right"] * (num_shared - num_wrong))
    known = {f"e{number}": "right" for number in range(num_shared)}
    assert named(said, known, **dict.fromkeys(known, 0.0)) == (["ada"] if is_named else [])
    assert named(said, known) == [], "with nothing to compare with nobody is judged"
    assert named(said, known, **dict.fromkeys(known, 1.0)) == [], "where labels differ anyway"


def test_nobody_is_blamed_for_disagreeing_with_the_careless() -> None:
    good = ["right"] * 60
    bad = ["wrong"] * 20 + ["right"] * 40
    two = opinions("ada", good) + opinions("mal", bad)
    assert named(two + opinions("bo", good)) == ["mal"]
    assert named(two, {f"e{number}": "right" for number in range(0, 60, 2)}) == ["mal"]
    assert named(two) == [], "two who differ do not tell who is wrong"


ROWS = st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from("xyz"))


@given(st.lists(ROWS, max_size=60, unique_by=lambda row: row[:2]))
def test_the_order_of_opinions_does_not_matter(rows: list[tuple[int, str, str]]) -> None:
    said = [
        Opinion(id=f"e{of}", label=label, labeler=labeler, labeled_at=NOON, shard="s") for of, labeler, label in rows
    ]
    records = agreement_of(said, {"e0": "x"}, confidence=0.99, num_judged_min=2)
    for each in records:
        assert each.num_judged <= len({opinion.id for opinion in said})
        assert 0 <= each.expected_ratio <= 1
    backwards = agreement_of(list(reversed(said)), {"e0": "x"}, confidence=0.99, num_judged_min=2)
    assert [each.num_judged for each in backwards] == [each.num_judged for each in records]
    first, second = (settle_labels(said_of(order), LETTERS) for order in (said, list(reversed(said))))
    assert [said[row] for row in first.rows] == [list(reversed(said))[row] for row in second.rows]


@pytest.mark.parametrize(
    ("changes", "is_accepted", "quarantined", "says"),
    [
        pytest.param({}, True, (), "", id="clean"),
        pytest.param(
            {"row_counts": (NONE.model_copy(update={"num_bad": 1, "places": (("b1", "bo"),)}),)},
            False,
            ("b1",),
            "1 of 100 break a rule (b1)",
            id="one-bad-row",
        ),
        pytest.param(
            {"duplicates": NONE.model_copy(update={"num_bad": 5, "places": (("b1", "bo"),)})},
            True,
            (),
            "",
            id="5-duplicates",
        ),
        pytest.param(
            {"duplicates": NONE.model_copy(update={"num_bad": 6, "places": (("b1", "bo"),)})},
            False,
            ("b1",),
            "6 of 100",
            id="6-duplicates",
        ),
        pytest.param({"leaks": NONE.model_copy(update={"num_bad": 1})}, True, (), "", id="1-leak"),
        pytest.param({"leaks": NONE.model_copy(update={"num_bad": 2})}, False, (), "2 of 100", id="2-leaks"),
        pytest.param(
            {"rejected": [RejectedShard(key=f"r{n}", reason="r") for n in range(3)]},
            True,
            ("r0", "r1", "r2"),
            "",
            id="half-unreadable",
        ),
        pytest.param(
            {"rejected": [RejectedShard(key=f"r{n}", reason="line 1: not JSON") for n in range(4)]},
            False,
            ("r0", "r1", "r2", "r3"),
            "4 of 7 label shards cannot be read; the first: line 1: not JSON",
            id="over-half-unreadable",
        ),
        pytest.param({"agreement": (record("ada", None, num_judged=3),)}, True, (), "", id="too-few-shared"),
        pytest.param({"agreement": (record("ada", 0.05),)}, True, (), "", id="at-the-limit"),
        pytest.param(
            {"agreement": (record("ada", 0.051),)},
            False,
            ("a1", "a2"),
            "labeler 'ada' disagrees with the others on 35.0% of 40 shared examples; 5.0% is expected there",
            id="careless",
        ),
        pytest.param({"noise": (record("ada", 0.03), record("bo", None))}, True, (), "", id="little-noise"),
        pytest.param(
            {"noise": (record("ada", 0.031), record("bo", -0.1))},
            False,
            ("a1", "a2"),
            "35.0% of 40 labels of 'ada' are contradicted",
            id="much-noise",
        ),
    ],
)
def test_decision_at_each_limit(
    changes: dict[str, object], is_accepted: bool, quarantined: tuple[str, ...], says: str
) -> None:
    decision = decide_quality(measured(**changes), POLICY)
    failed = [reason.text for reason in decision.reasons if not reason.passed]
    assert (decision.is_accepted, decision.quarantined) == (is_accepted, quarantined), failed
    assert says in "; ".join(failed)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 40))
def test_worse_evidence_never_helps(num_bad: int, num_leaked: int, more: int) -> None:
    def decide(bad: int, leaked: int) -> bool:
        counts = [NONE.model_copy(update={"num_bad": min(100, number)}) for number in (bad, leaked)]
        return decide_quality(measured(row_counts=(counts[0],), leaks=counts[1]), POLICY).is_accepted

    if not decide(num_bad, num_leaked):
        assert not decide(num_bad + more, num_leaked + more)


def test_of_a_shard_only_the_labels_of_those_to_blame_are_left_out() -> None:
    shards = {"ada": ("a1", "mixed"), "bo": ("mixed",), "cy": ("mixed",)}
    parts = decide_quality(measured(shards_by_labeler=shards, agreement=(record("bo", 0.5),)), POLICY)
    assert (parts.quarantined, parts.quarantined_rows) == ((), {"mixed": ("bo",)})
    all_three = tuple(record(name, 0.5) for name in shards)
    whole = decide_quality(measured(shards_by_labeler=shards, agreement=all_three), POLICY)
    assert (whole.quarantined, whole.quarantined_rows) == (("a1", "mixed"), {})


def test_the_reviewed_file_is_the_default_policy() -> None:
    from pathlib import Path

    assert QualityPolicy.model_validate(yaml.safe_load(Path("configs/policies/quality.yaml").read_text())) == POLICY
