"""Evidence is shown as odds with its limit, and every test of the judge has words."""

import math

import pytest

from ratchet.core.rollout.evidence import TestValue, measure
from ratchet.core.rollout.odds import evidence_words, odds_words
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import begin


@pytest.mark.parametrize(
    ("log_e", "words"),
    [
        pytest.param(-0.1, "<1:1", id="against-it"),
        pytest.param(0.0, "1:1", id="none"),
        pytest.param(math.log(1.44), "1.4:1", id="a-little"),
        pytest.param(3.51, "33:1", id="at-a-limit"),
        pytest.param(math.log(1200), "1,200:1", id="much"),
        pytest.param(5000.0, ">1,000,000:1", id="more-than-a-float-holds"),
    ],
)
def test_odds_are_readable_at_any_size(log_e: float, words: str) -> None:
    assert odds_words(log_e) == words


def test_evidence_says_number_limit_and_consequence() -> None:
    test = TestValue(name="errors, fast", log_e=1.2, limit=3.51)
    assert evidence_words(test) == "evidence of harm 3.3:1; 33:1 is needed to withdraw"


def test_every_test_of_the_judge_has_words() -> None:
    policy = RolloutPolicy()
    for test in measure(begin(policy), policy).tests:
        assert " is needed to " in evidence_words(test)
