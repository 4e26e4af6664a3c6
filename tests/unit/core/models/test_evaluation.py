import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.evaluation import EvaluationPolicy, PairedAnswers, judge_challenger
from ratchet.core.models.paired import paired_difference

POLICY = EvaluationPolicy(
    confidence=0.95,
    loss_max=0.03,
    gain_min=0.0,
    accuracy_min=0.8,
    num_rows_min=30,
    slice_loss_max=0.1,
    slice_rows_min=10,
    serving_mismatch_max=0.0,
)


def answers(*, right: int, champion_right: int | None, num_rows: int = 200, served_wrong: int = 0) -> PairedAnswers:
    """`right` rows answered "a" as labelled, from the front; the champion is right on rows from the front too."""
    challenger = ["a"] * right + ["b"] * (num_rows - right)
    champion = None if champion_right is None else ["a"] * champion_right + ["b"] * (num_rows - champion_right)
    served = ["?"] * served_wrong + challenger[served_wrong:]
    return PairedAnswers(labels=["a"] * num_rows, challenger=challenger, champion=champion, served=served)


@pytest.mark.parametrize(
    ("given_answers", "verdict", "failed"),
    [
        pytest.param(answers(right=190, champion_right=170), "passed", [], id="clearly-better"),
        pytest.param(answers(right=190, champion_right=190), "passed", [], id="as-good"),
        pytest.param(answers(right=189, champion_right=190), "refused", ["gain"], id="one-row-worse"),
        pytest.param(
            answers(right=150, champion_right=190),
            "refused",
            ["accuracy", "gain", "non_inferiority", "slice:a"],
            id="far-worse",
        ),
        pytest.param(answers(right=160, champion_right=None), "passed", [], id="first-at-the-floor"),
        pytest.param(answers(right=159, champion_right=None), "refused", ["accuracy"], id="first-under-the-floor"),
        pytest.param(answers(right=29, champion_right=None, num_rows=29), "refused", ["test_rows"], id="too-few-rows"),
        pytest.param(answers(right=0, champion_right=0, num_rows=0), "refused", ["test_rows"], id="no-rows-refuse"),
        pytest.param(
            answers(right=190, champion_right=170, served_wrong=1), "refused", ["serving"], id="served-otherwise"
        ),
    ],
)
def test_gate_at_each_boundary(given_answers, verdict, failed):
    judged = judge_challenger(given_answers, policy=POLICY, inputs={})
    assert (judged.verdict, [reason.check for reason in judged.failed]) == (verdict, failed), judged.summary()


def test_a_loss_in_one_class_is_refused_though_the_whole_gained():
    labels = ["a"] * 150 + ["b"] * 50
    challenger = ["a"] * 150 + ["b"] * 30 + ["a"] * 20
    champion = ["a"] * 110 + ["b"] * 40 + ["b"] * 48 + ["a"] * 2
    judged = judge_challenger(PairedAnswers(labels, challenger, champion, challenger), policy=POLICY, inputs={})
    assert [reason.check for reason in judged.failed] == ["slice:b"], judged.summary()


def test_paired_difference_matches_the_published_adjustment():
    """By hand from the formula: cells + 1/2, n + 2: b = 10, c = 2, n = 100."""
    challenger = np.array([True] * 98 + [False] * 2)
    champion = np.array([False] * 10 + [True] * 90)
    paired = paired_difference(challenger, champion, confidence=0.95)
    gain, loss = 10.5 / 102, 2.5 / 102
    half = 1.6448536 * np.sqrt((gain + loss - (gain - loss) ** 2) / 102)
    assert paired.difference == pytest.approx(0.08)
    assert (paired.lower, paired.upper) == pytest.approx((gain - loss - half, gain - loss + half))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200), st.floats(0.6, 0.999))
def test_bounds_enclose_and_swapping_the_models_mirrors_them(rows, confidence):
    challenger, champion = (np.array(column) for column in zip(*rows, strict=True))
    paired = paired_difference(challenger, champion, confidence=confidence)
    mirrored = paired_difference(champion, challenger, confidence=confidence)
    assert -1 <= paired.lower <= paired.upper <= 1
    assert paired.lower == pytest.approx(-mirrored.upper)


@given(st.integers(0, 200), st.integers(0, 199))
def test_one_more_right_answer_never_turns_passed_into_refused(champion_right, right):
    fewer = judge_challenger(answers(right=right, champion_right=champion_right), policy=POLICY, inputs={})
    more = judge_challenger(answers(right=right + 1, champion_right=champion_right), policy=POLICY, inputs={})
    assert fewer.verdict == "refused" or more.verdict == "passed"


def of_classes(*, new_right: int, num_new: int = 20, common_right: int = 90, left_out: int = 7) -> PairedAnswers:
    """100 rows of "a" and `num_new` of "new"; the champion knows "a", "b" and "gone" and is right on 90 of "a"."""
    labels = ["a"] * 100 + ["new"] * num_new
    challenger = (
        ["a"] * common_right + ["b"] * (100 - common_right) + ["new"] * new_right + ["a"] * (num_new - new_right)
    )
    champion = ["a"] * 90 + ["gone"] * 10 + ["a"] * num_new
    return PairedAnswers(
        labels, challenger, champion, challenger, ("new", "b", "a"), ("a", "b", "gone"), {"gone": left_out}
    )


@pytest.mark.parametrize(
    ("given_answers", "failed"),
    [
        pytest.param(of_classes(new_right=20), [], id="as-good-on-what-both-know"),
        pytest.param(of_classes(new_right=10), [], id="new-class-at-its-floor"),
        pytest.param(of_classes(new_right=9), ["new_class:new"], id="new-class-under-its-floor"),
        pytest.param(of_classes(new_right=20, common_right=89), ["gain", "non_inferiority"], id="pays-for-no-loss"),
        pytest.param(of_classes(new_right=9, num_new=9), ["new_class:new"], id="new-class-with-too-few-rows"),
        pytest.param(of_classes(new_right=0, num_new=0), ["new_class:new"], id="new-class-without-rows"),
    ],
)
def test_models_of_different_classes_are_compared_on_those_that_both_know(given_answers, failed):
    judged = judge_challenger(given_answers, policy=POLICY.model_copy(update={"accuracy_min": 0.5}), inputs={})
    assert [reason.check for reason in judged.failed] == failed, judged.summary()
    (classes,) = (reason.text for reason in judged.reasons if reason.check == "classes")
    assert classes.startswith("new classes: new; removed classes: gone (7 test rows of them left out); challenger and")
    assert "on the 2 classes that both know" in classes


def test_a_policy_may_let_a_new_class_in_without_evidence():
    policy = POLICY.model_copy(update={"new_class_rows_min": 0})
    assert judge_challenger(of_classes(new_right=0, num_new=0), policy=policy, inputs={}).verdict == "passed"


def test_too_few_rows_of_common_classes_refuse_though_there_are_many_of_new_ones():
    answers = PairedAnswers(
        ["n"] * 90 + ["a"] * 10, ["n"] * 90 + ["a"] * 10, ["a"] * 100, ["n"] * 90 + ["a"] * 10, "na", "ab"
    )
    judged = judge_challenger(answers, policy=POLICY, inputs={})
    assert [reason.check for reason in judged.failed] == ["common_rows", "non_inferiority"]


def test_models_without_a_common_class_cannot_be_compared():
    judged = judge_challenger(
        PairedAnswers(["x"] * 50, ["x"] * 50, ["a"] * 50, ["x"] * 50, "xy", "ab"), policy=POLICY, inputs={}
    )
    assert judged.verdict == "refused"
    assert "no class in common; give the task a new name" in judged.summary()
