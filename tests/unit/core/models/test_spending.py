"""The chance of an error over all judgements by the same rows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.evaluation import PairedAnswers, judge_challenger
from ratchet.core.models.spending import REUSE, SPENT, describe_reuse, level_of
from tests.unit.core.models.test_evaluation import POLICY


@given(st.floats(1e-6, 0.5), st.integers(1, 5_000))
def test_all_judgements_together_spend_no_more_than_is_stated(stated, number):
    spent = sum(level_of(before, stated=stated) for before in range(number))
    assert spent <= stated
    assert spent == pytest.approx(stated * number / (number + 1))


@pytest.mark.parametrize(
    ("num_before", "stated", "passed", "says"),
    [
        pytest.param(36, None, True, "judged 36 challengers before this one; at 95% each.*at most 100%", id="told"),
        pytest.param(0, None, True, "judged 0 challengers.*at most 5%", id="the-first"),
        pytest.param(1, 0.06, True, "0.01 of the stated chance of 0.06", id="stated"),
        pytest.param(None, None, True, "was not counted", id="nobody-asked"),
        pytest.param(None, 0.05, False, "was not counted", id="missing-evidence-refuses"),
    ],
)
def test_reuse_is_told(num_before, stated, passed, says):
    reason = describe_reuse(num_before, confidence=0.95, stated=stated)
    assert (reason.check, reason.passed, reason.value) == (REUSE, passed, num_before)
    assert re.search(says, reason.text), reason.text


def judged(num_rows: int, level: float | None):
    """Both are right on the same 95 % of the rows, each alone on a hundredth."""
    alone, right = num_rows // 100, num_rows * 95 // 100
    challenger = ["a"] * right + ["a"] * alone + ["b"] * (num_rows - right - alone)
    champion = ["a"] * right + ["b"] * alone + ["a"] * alone + ["b"] * (num_rows - right - 2 * alone)
    answers = PairedAnswers(["a"] * num_rows, challenger, champion, challenger, level=level)
    return {reason.check: reason for reason in judge_challenger(answers, policy=POLICY, inputs={}).reasons}


@pytest.mark.parametrize(
    ("num_rows", "num_before", "passed"),
    [
        pytest.param(100, 0, False, id="a-hundred-rows-prove-nothing"),
        pytest.param(1_000, 0, True, id="a-thousand-do"),
        pytest.param(1_000, 364, False, id="but-not-after-a-year-without-new-rows"),
        pytest.param(4_000, 364, True, id="new-rows-pay-for-it"),
    ],
)
def test_what_is_left_decides(num_rows, num_before, passed):
    assert SPENT not in judged(num_rows, None)
    assert judged(num_rows, level_of(num_before, stated=0.05))[SPENT].passed is passed
