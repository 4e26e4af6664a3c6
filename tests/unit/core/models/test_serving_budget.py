"""What the model server took, against a budget: which look counts, what noise cannot do, and what is not known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.schema import CategoryOutput, NumberOutput
from ratchet.core.models.serving_budget import (
    ServingBudget,
    ServingEvidence,
    check_serving,
    is_look_due,
    is_start_due,
    p99_bound_of,
    p99_of,
)

YES_NO = CategoryOutput(type="category", classes=("no", "yes"))
OFFLINE = answers_of(np.array([[0.2, 0.8], [0.7, 0.3]]), YES_NO)
QUIET = (2.0,) * 100
ONE_PAUSE = (2.0,) * 98 + (400.0,) * 2
"""A collection of garbage, or another process: two of 100 requests waited."""
SLOW = (2.0,) * 90 + (400.0,) * 10


def checked(evidence: ServingEvidence | None, **budget: float):
    reasons = check_serving(evidence, OFFLINE, ServingBudget(**budget), confidence=0.95)
    return {reason.check: reason for reason in reasons}


@pytest.mark.parametrize(
    ("looks", "passed"),
    [
        pytest.param([QUIET], True, id="quiet"),
        pytest.param([ONE_PAUSE], True, id="what-few-requests-waited-proves-nothing"),
        pytest.param([SLOW], False, id="one-in-ten-is-late"),
        pytest.param([SLOW, SLOW, QUIET], True, id="the-best-look-counts"),
        pytest.param([SLOW, SLOW, SLOW], False, id="late-in-each"),
    ],
)
def test_latency_is_refused_where_the_requests_prove_it(looks, passed):
    reason = checked(ServingEvidence(looks_ms=looks), latency_ms_p99_max=50)["serving_latency"]
    assert reason.passed is passed, reason.text
    assert "limit 50 ms" in reason.text and "at 50 requests/s" in reason.text


@pytest.mark.parametrize(
    ("loads_s", "passed"),
    [([4.0], True), ([6.0], True), ([6.1], False), ([9.0, 7.0, 6.0], True), ([9.0, 7.0, 6.1], False)],
)
def test_the_shortest_start_counts(loads_s, passed):
    reason = checked(ServingEvidence(loads_s=loads_s), load_s_max=6)["serving_load"]
    assert (reason.passed, reason.value) == (passed, min(loads_s)), reason.text


@pytest.mark.parametrize(("memory_mb", "passed"), [(500.0, True), (500.1, False), (None, False)])
def test_memory_at_its_limit(memory_mb, passed):
    assert checked(ServingEvidence(memory_mb=memory_mb), memory_mb_max=500)["serving_memory"].passed is passed


@pytest.mark.parametrize("limit", ["load_s_max", "latency_ms_p99_max", "memory_mb_max"])
@pytest.mark.parametrize("evidence", [None, ServingEvidence(problem="it was late")])
def test_a_limit_without_a_measurement_refuses(limit, evidence):
    failed = [reason for reason in checked(evidence, **{limit: 5.0}).values() if not reason.passed]
    assert [reason.check for reason in failed] == ["serving_" + limit.split("_")[0]]
    assert "was not measured" in failed[0].text


def test_without_a_budget_all_is_told_and_nothing_refused():
    found = checked(ServingEvidence([0.8, 0.7], "float32", [9.0], [SLOW], 4_000.0))
    assert all(reason.passed for reason in found.values())
    assert list(found) == ["serving_probability", "serving_load", "serving_latency", "serving_memory"]
    assert "no limit is set (`serving.load_s_max`)" in found["serving_load"].text
    assert checked(None) == {}


@pytest.mark.parametrize(
    ("precision", "distance", "passed"),
    [
        ("float64", 1e-5, False),
        ("float32", 1e-5, True),
        ("float32", 2e-3, False),
        ("bfloat16", 2e-3, True),
        ("bfloat16", 0.1, False),
    ],
)
def test_served_probabilities_agree_by_the_precision_of_the_weights(precision, distance, passed):
    found = checked(ServingEvidence([0.8, 0.7 - distance], precision))["serving_probability"]
    assert found.passed is passed, found.text


def test_a_policy_may_say_how_far_they_lie_apart():
    assert not checked(ServingEvidence([0.8, 0.699]), distance_max=0.0005)["serving_probability"].passed


def test_a_number_has_no_probability():
    answers = answers_of(np.array([1.0]), NumberOutput(type="number"))
    found = check_serving(ServingEvidence(), answers, ServingBudget(), confidence=0.95)
    assert "serving_probability" not in {reason.check for reason in found}


@pytest.mark.parametrize(
    ("looks", "limit", "due"),
    [
        pytest.param([], None, True, id="none-yet"),
        pytest.param([SLOW], None, False, id="told-only"),
        pytest.param([QUIET], 50, False, id="held"),
        pytest.param([SLOW], 50, True, id="over"),
        pytest.param([SLOW, QUIET], 50, False, id="then-held"),
        pytest.param([SLOW] * 3, 50, False, id="three-times-over"),
    ],
)
def test_a_look_is_repeated_where_it_can_still_save_a_model(looks, limit, due):
    assert is_look_due(looks, ServingBudget(latency_ms_p99_max=limit), confidence=0.95) is due
    loads_s = [max(look) for look in looks]
    assert is_start_due(loads_s, ServingBudget(load_s_max=limit)) is due


def test_the_bound_lies_where_the_binomial_law_says():
    times = list(range(1, 101))
    assert (p99_of(times), p99_bound_of(times, 0.95)) == (99, 97)
    assert p99_bound_of(list(range(1, 1_001)), 0.95) == 985


def test_the_bound_is_over_the_true_percentile_as_seldom_as_it_says():
    random = np.random.default_rng(0)
    true = -np.log(0.01)
    over = [p99_bound_of(random.exponential(size=100).tolist(), 0.95) > true for _ in range(1_000)]
    assert np.mean(over) <= 0.07, "5 % and the noise of 1,000"


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300), st.floats(0.51, 0.999))
def test_the_bound_is_one_of_the_times_and_not_above_the_percentile(times, confidence):
    bound = p99_bound_of(times, confidence)
    assert bound in times and bound <= p99_of(times)
