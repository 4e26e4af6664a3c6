"""The decision whether labels may teach: agreement, noise, and everything at its limit."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ratchet.core.agreement import (
    LabelerRecord,
    Opinion,
    find_careless,
    latest_opinions,
    majority_of,
    measure_agreement,
    ratio_lower_bound,
    settle_labels,
)
from ratchet.core.label_noise import find_contradicted
from ratchet.core.quality import Count, Evidence, QualityPolicy, RejectedShard, decide_quality

POLICY = QualityPolicy()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NONE = Count(check="c", rule="break a rule", num_bad=0, num_rows=100)


def opinions(labeler: str, labels: list[str], *, first: int = 0, minutes: int = 0) -> list[Opinion]:
    at = NOON + timedelta(minutes=minutes)
    return [
        Opinion(id=f"e{first + place}", label=label, labeler=labeler, labeled_at=at, shard=f"of-{labeler}")
        for place, label in enumerate(labels)
    ]


def evidence(**changes: object) -> Evidence:
    values = {
        "num_new": 100,
        "shards_by_labeler": {"ada": ("a1", "a2"), "bo": ("b1",)},
        "row_counts": (NONE,),
        "duplicates": NONE,
        "leaks": NONE,
        "agreement": (),
    }
    return Evidence.model_validate({**values, **changes})


def careless(labeler: str, num_disagreed: int, num_shared: int) -> LabelerRecord:
    bound = ratio_lower_bound(num_hits=num_disagreed, num_trials=num_shared, confidence=0.99)
    return LabelerRecord(
        labeler=labeler, num_shared=num_shared, num_disagreed=num_disagreed, disagreement_lower_bound=bound
    )


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from([0.9, 0.99, 0.999]))
def test_the_bound_is_that_of_clopper_and_pearson(num_hits: int, num_trials: int, confidence: float) -> None:
    num_hits = min(num_hits, num_trials)
    bound = ratio_lower_bound(num_hits=num_hits, num_trials=num_trials, confidence=confidence)
    exact = binomtest(num_hits, num_trials, alternative="greater").proportion_ci(confidence, method="exact").low
    assert bound == pytest.approx(exact, abs=1e-9)
    assert 0 <= bound <= num_hits / num_trials


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([], None, id="nobody"),
        pytest.param(["a"], "a", id="one"),
        pytest.param(["a", "b"], None, id="tie"),
        pytest.param(["a", "b", "b"], "b", id="majority"),
        pytest.param(["a", "a", "b", "b", "c"], None, id="tie-of-two-among-three"),
    ],
)
def test_majority(labels: list[str], expected: str | None) -> None:
    assert majority_of(labels) == expected


def test_a_labeler_may_correct_herself_and_has_one_voice() -> None:
    said = opinions("ada", ["x"]) + opinions("ada", ["y"], minutes=1) + opinions("ada", ["x"], minutes=-1)
    assert [opinion.label for opinion in latest_opinions(said)] == ["y"]
    assert settle_labels(said + opinions("bo", ["x"])) == {}


@pytest.mark.parametrize(
    ("num_wrong", "num_shared", "is_named"),
    [
        pytest.param(19, 19, False, id="too-few-shared"),
        pytest.param(20, 20, True, id="just-enough-shared"),
        pytest.param(6, 20, False, id="6-of-20-may-be-bad-luck"),
        pytest.param(7, 20, True, id="7-of-20-is-not"),
        pytest.param(13, 40, True, id="a-third-of-40"),
        pytest.param(0, 400, False, id="perfect"),
        pytest.param(53, 400, False, id="53-of-400"),
        pytest.param(58, 400, True, id="58-of-400"),
    ],
)
def test_who_is_careless_by_what_is_known(num_wrong: int, num_shared: int, is_named: bool) -> None:
    said = opinions("ada", ["wrong"] * num_wrong + ["right"] * (num_shared - num_wrong))
    known = {f"e{number}": "right" for number in range(num_shared)}
    named = find_careless(said, known, confidence=0.99, disagreement_ratio_max=0.1, num_shared_min=20)
    assert [record.labeler for record in named] == (["ada"] if is_named else [])


def find(said: list[Opinion], known: dict[str, str] | None = None, **suspicion: float) -> list[str]:
    named = find_careless(
        said, known or {}, confidence=0.99, disagreement_ratio_max=0.1, num_shared_min=20, suspicion=suspicion
    )
    return [record.labeler for record in named]


def test_nobody_is_blamed_for_disagreeing_with_the_careless() -> None:
    good = ["right"] * 60
    bad = ["wrong"] * 20 + ["right"] * 40
    two = opinions("ada", good) + opinions("mal", bad)
    assert find(two + opinions("bo", good)) == ["mal"]
    assert find(two, {f"e{number}": "right" for number in range(0, 60, 2)}) == ["mal"]
    assert sorted(find(two)) == ["ada", "mal"], "without a witness both are named"
    assert find(two, mal=0.2, ada=0.01) == ["mal"]


ROWS = st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from("xyz"))


@given(st.lists(ROWS, max_size=60, unique_by=lambda row: row[:2]))
def test_disagreements_are_some_of_the_shared(rows: list[tuple[int, str, str]]) -> None:
    said = [
        Opinion(id=f"e{of}", label=label, labeler=labeler, labeled_at=NOON, shard="s") for of, labeler, label in rows
    ]
    for record in measure_agreement(said, {"e0": "x"}, confidence=0.99):
        assert 0 <= record.num_disagreed <= record.num_shared <= len({opinion.id for opinion in said})
        assert record.disagreement_lower_bound <= record.disagreement_ratio
    assert settle_labels(said) == settle_labels(list(reversed(said)))


@pytest.mark.parametrize(
    ("changes", "is_accepted", "quarantined", "says"),
    [
        pytest.param({}, True, (), "", id="clean"),
        pytest.param(
            {"row_counts": (NONE.model_copy(update={"num_bad": 1, "shards": ("b1",)}),)},
            False,
            ("b1",),
            "1 of 100 break a rule (b1)",
            id="one-bad-row",
        ),
        pytest.param(
            {"duplicates": NONE.model_copy(update={"num_bad": 5, "shards": ("b1",)})},
            True,
            (),
            "",
            id="5-duplicates",
        ),
        pytest.param(
            {"duplicates": NONE.model_copy(update={"num_bad": 6, "shards": ("b1",)})},
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
        pytest.param(
            {"agreement": (careless("ada", 1, 3),)},
            True,
            (),
            "",
            id="too-few-shared",
        ),
        pytest.param(
            {"agreement": (careless("ada", 14, 40),), "careless": (careless("ada", 14, 40),)},
            False,
            ("a1", "a2"),
            "labeler 'ada' disagrees with the others on 14 of 40 shared examples (35.0%",
            id="careless",
        ),
        pytest.param({"contradicted_by_labeler": {"ada": (2, 200)}}, True, (), "", id="little-noise"),
        pytest.param(
            {"contradicted_by_labeler": {"ada": (60, 200), "bo": (4, 100)}},
            False,
            ("a1", "a2"),
            "60 of 200 labels of 'ada' are contradicted",
            id="much-noise",
        ),
    ],
)
def test_decision_at_each_limit(
    changes: dict[str, object], is_accepted: bool, quarantined: tuple[str, ...], says: str
) -> None:
    decision = decide_quality(evidence(**changes), POLICY)
    failed = [reason.text for reason in decision.reasons if not reason.passed]
    assert (decision.is_accepted, decision.quarantined) == (is_accepted, quarantined), failed
    assert says in "; ".join(failed)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 40))
def test_worse_evidence_never_helps(num_bad: int, num_leaked: int, more: int) -> None:
    def decide(bad: int, leaked: int) -> bool:
        counts = [NONE.model_copy(update={"num_bad": min(100, number)}) for number in (bad, leaked)]
        return decide_quality(evidence(row_counts=(counts[0],), leaks=counts[1]), POLICY).is_accepted

    if not decide(num_bad, num_leaked):
        assert not decide(num_bad + more, num_leaked + more)


def test_neighbours_contradict_a_label_in_the_wrong_cloud() -> None:
    random = np.random.default_rng(0)
    labels_N = np.repeat([0, 1], 50)
    features_NF = random.normal(size=(100, 3)) + 20.0 * labels_N[:, None]
    flipped_N = labels_N.copy()
    flipped_N[[3, 77]] ^= 1
    found = find_contradicted(features_NF, flipped_N, num_neighbours=5, num_against=3)
    assert np.flatnonzero(found).tolist() == [3, 77]
    assert not find_contradicted(features_NF, labels_N, num_neighbours=5, num_against=3).any()
    assert not find_contradicted(features_NF[:5], flipped_N[:5], num_neighbours=5, num_against=3).any()


def test_the_reviewed_file_is_the_default_policy() -> None:
    from pathlib import Path

    assert QualityPolicy.model_validate(yaml.safe_load(Path("configs/policies/quality.yaml").read_text())) == POLICY
