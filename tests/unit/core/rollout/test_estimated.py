"""Accuracy in production of probabilities and of labels that arrived: properties, boundaries, and a simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.rollout.estimated import KnownAnswers, estimate_accuracy, known_answers
from ratchet.core.rollout.payloads import Feedback, Prediction
from tests.components.data import NOON


def known(num_right: int, num_wrong: int, *, when_right: float = 0.9, when_wrong: float = 0.6) -> KnownAnswers:
    right_L = np.arange(num_right + num_wrong) < num_right
    return KnownAnswers(np.where(right_L, when_right, when_wrong), right_L)


@pytest.mark.parametrize(
    ("num", "labels", "source", "said"),
    [
        pytest.param(99, known(0, 0), "nothing", "cannot be known", id="one-answer-short"),
        pytest.param(100, known(0, 0), "probabilities", "no evidence", id="probabilities-alone"),
        pytest.param(99, known(40, 10), "labels", "40 of 50", id="labels-alone"),
        pytest.param(100, known(40, 9), "labels", "40 of 49", id="one-wrong-answer-short"),
        pytest.param(100, known(10, 10), "both", "of 20 true labels", id="both"),
        pytest.param(100, known(5, 0), "labels", "5 of 5", id="all-right-is-no-certainty"),
    ],
)
def test_what_an_estimate_stands_on_is_said(num, labels, source, said):
    estimate = estimate_accuracy([0.8] * num, labels, confidence=0.95)
    assert (estimate.source, said in estimate.text) == (source, True), estimate.text
    assert estimate.reason.passed, "an estimate refuses nothing"


@given(
    st.lists(st.floats(0, 1), max_size=300),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_an_interval_is_within_0_and_1_and_holds_its_value(expected, pairs, confidence):
    labels = KnownAnswers(
        np.array([each for each, _ in pairs], dtype=float), np.array([is_it for _, is_it in pairs], bool)
    )
    estimate = estimate_accuracy(expected, labels, confidence=confidence)
    assert 0 <= estimate.low <= estimate.high <= 1
    assert estimate.value is None or estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9


@given(st.integers(10, 100), st.integers(10, 100), st.floats(0, 1))
def test_probabilities_that_say_nothing_leave_the_labels_alone(num_right, num_wrong, probability):
    labels = known(num_right, num_wrong, when_right=probability, when_wrong=probability)
    estimate = estimate_accuracy([probability] * 200, labels, confidence=0.95)
    assert estimate.value == pytest.approx(num_right / (num_right + num_wrong))


def test_over_confident_probabilities_do_not_move_the_estimate():
    """A model that is right on 60 % and says 99 % of everything."""
    right_L = np.random.default_rng(0).random(400) < 0.6
    said = np.random.default_rng(1).uniform(0.98, 1.0, 10_000)
    estimate = estimate_accuracy(said, KnownAnswers(said[:400], right_L), confidence=0.95)
    assert estimate.low < 0.6 < estimate.high < 0.75


def prediction(request_id: str, *, digest: str = "d1", probabilities: tuple[float, ...] = (0.7, 0.8)) -> Prediction:
    return Prediction(
        request_id=request_id,
        at=NOON,
        model_digest=digest,
        latency_ms=1,
        features=((0.0,), (1.0,)),
        labels=("a", "b"),
        probabilities=probabilities,
    )


def test_answers_are_joined_with_their_truth_once_and_of_one_model():
    answered = [
        prediction("r1"),
        prediction("r1"),  # logged twice
        prediction("r1", digest="other"),
        prediction("r2", probabilities=()),
        prediction("r3"),
    ]
    truth = [("r1", 0, "a"), ("r1", 1, "a"), ("r2", 0, "a"), ("r3", 1, "b"), ("r9", 0, "a")]
    told = [Feedback(request_id=name, instance=instance, label=label, at=NOON) for name, instance, label in truth]
    found = known_answers(answered, told, model_digest="d1", tolerance=None)
    assert found.probability_L.tolist() == [0.7, 0.8, 0.8]
    assert found.is_right_L.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("bias", "shorter"),
    [pytest.param(0.0, 0.10, id="calibrated"), pytest.param(0.3, 0.0, id="over-confident")],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(bias, shorter):
    """100 labels of 5,000 answers whose true chances are known, 1,000 times; 95 % are to be covered, and of 1,000 draws
    93 % is 2.9 standard errors below that. Hard cases: most probabilities are near 0.5 or near 1."""
    draw = np.random.default_rng(7)
    num_covered, widths, alone = 0, [], []
    for _ in range(1_000):
        chance_N = np.where(draw.random(5_000) < 0.5, draw.uniform(0.05, 0.35, 5_000), draw.uniform(0.85, 1.0, 5_000))
        said_N = np.minimum(chance_N + bias, 1.0)
        right_L = draw.random(100) < chance_N[:100]
        estimate = estimate_accuracy(said_N, KnownAnswers(said_N[:100], right_L), confidence=0.95)
        only = estimate_accuracy([], KnownAnswers(said_N[:100], right_L), confidence=0.95)
        num_covered += estimate.low <= 0.5 * 0.2 + 0.5 * 0.925 <= estimate.high
        widths.append(estimate.high - estimate.low)
        alone.append(only.high - only.low)
    assert 930 <= num_covered <= 970
    assert np.mean(widths) < (1 - shorter) * np.mean(alone), (np.mean(widths), np.mean(alone))
