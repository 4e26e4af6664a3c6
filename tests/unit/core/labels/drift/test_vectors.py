"""Drift: what shifts, what is noise, what is too little to say."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from ratchet.core.labels.drift import (
    DriftPolicy,
    class_shares,
    decide_drift,
    detectable_shift,
    feature_shift,
    label_shift,
    p_value_of_shift,
    rejected_by_holm,
)

POLICY = DriftPolicy()
CLASSES = ("a", "b")
SMALL = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=60).map(np.array)


@given(SMALL, SMALL)
def test_feature_shift_is_that_of_scipy_and_symmetric(reference: np.ndarray, incoming: np.ndarray) -> None:
    shift = feature_shift(reference, incoming)
    assert shift == pytest.approx(ks_2samp(reference, incoming).statistic)
    assert shift == feature_shift(incoming, reference)


def test_p_value_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    old, new = random.normal(size=500), random.normal(0.1, size=400)
    ours = p_value_of_shift(feature_shift(old, new), num_reference=500, num_incoming=400)
    assert ours == pytest.approx(ks_2samp(old, new, method="asymp").pvalue, rel=0.15)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5), st.lists(st.integers(0, 50), min_size=5, max_size=5))
def test_label_shift_is_zero_for_equal_shares_and_symmetric(old: list[int], new: list[int]) -> None:
    classes = [str(number) for number in range(len(old))]
    old_K, new_K = (
        class_shares([name for name, count in zip(classes, counts, strict=False) for _ in range(count)], classes)
        for counts in (old, new)
    )
    assert old_K.sum() == pytest.approx(1)
    assert label_shift(old_K, old_K) == 0
    assert label_shift(old_K, new_K) == pytest.approx(label_shift(new_K, old_K))
    assert label_shift(old_K, new_K) >= 0


def test_label_shift_of_a_worked_example() -> None:
    """(0.4 - 0.5) ln(0.4 / 0.5) + (0.6 - 0.5) ln(0.6 / 0.5) = 0.022314 + 0.018232."""
    assert label_shift(np.array([0.5, 0.5]), np.array([0.4, 0.6])) == pytest.approx(0.040547, abs=1e-6)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        pytest.param([], set(), id="none"),
        pytest.param([0.004, 0.5, 0.5], set(), id="a-third-of-1-percent-is-the-first-limit"),
        pytest.param([0.003, 0.5, 0.5], {0}, id="below-it"),
        pytest.param([0.5, 0.0049, 0.003], {1, 2}, id="the-next-limit-is-wider"),
        pytest.param([0.005, 0.004, 0.004], set(), id="who-fails-first-stops-all"),
    ],
)
def test_holm(p_values: list[float], expected: set[int]) -> None:
    assert rejected_by_holm(p_values, false_alarm_ratio=0.01) == expected


@given(st.integers(1, 5_000), st.integers(1, 5_000), st.integers(1, 100))
def test_more_rows_show_smaller_shifts(num_reference: int, num_incoming: int, more: int) -> None:
    def seen(reference: int, incoming: int) -> float:
        return detectable_shift(
            num_reference=reference, num_incoming=incoming, num_features=64, false_alarm_ratio=0.01, power=0.8
        )

    assert seen(num_reference + more, num_incoming) < seen(num_reference, num_incoming)
    assert seen(num_reference, num_incoming) == pytest.approx(seen(num_incoming, num_reference))


def test_the_promised_power_is_kept() -> None:
    """Shift one of ten features by what is called detectable: it is found in 80 % of the trials, or more."""
    random = np.random.default_rng(0)
    shift = detectable_shift(num_reference=400, num_incoming=200, num_features=10, false_alarm_ratio=0.01, power=0.8)
    policy = POLICY.model_copy(update={"feature_shift_max": 0.01})
    found = 0
    for _ in range(100):
        old, new = random.random((400, 10)), random.random((200, 10))
        new[:, 0] = np.minimum(new[:, 0] + shift, 1.0 + new[:, 0] / 1e6)
        found += decide(old, new, policy) == "drifted"
    assert found >= 80


def test_false_alarms_are_as_rare_as_promised() -> None:
    random = np.random.default_rng(1)
    policy = POLICY.model_copy(update={"feature_shift_max": 0.01, "label_shift_max": 10.0})
    alarms = sum(decide(random.random((300, 20)), random.random((300, 20)), policy) == "drifted" for _ in range(200))
    assert alarms <= 7, "1 % of 200 are 2; more than 7 have a chance of 0.1 %"


@pytest.mark.parametrize(
    ("num_reference", "num_incoming", "name"),
    [
        pytest.param(1000, 49, "too_few", id="49-new"),
        pytest.param(0, 1000, "too_few", id="no-reference"),
        pytest.param(1000, 0, "too_few", id="nothing-new"),
        pytest.param(60, 60, "too_few", id="not-enough-power"),
        pytest.param(1000, 200, "stable", id="enough"),
    ],
)
def test_too_little_to_say(num_reference: int, num_incoming: int, name: str) -> None:
    random = np.random.default_rng(2)
    assert decide(random.random((num_reference, 64)), random.random((num_incoming, 64)), POLICY) == name


def test_a_large_class_shift_alone_is_drift() -> None:
    random = np.random.default_rng(3)
    old, new = random.random((500, 4)), random.random((300, 4))
    decision = decide_drift(
        reference_MF=old,
        incoming_NF=new,
        reference_labels=["a"] * 250 + ["b"] * 250,
        incoming_labels=["a"] * 30 + ["b"] * 270,
        classes=CLASSES,
        policy=POLICY,
    )
    assert decision.name == "drifted"
    assert "the largest shift: 'a', 50.0% before and 10.1% now" in decision.reasons[0].text


def test_the_reviewed_file_is_the_default_policy() -> None:
    assert DriftPolicy.model_validate(yaml.safe_load(Path("configs/policies/drift.yaml").read_text())) == POLICY


def decide(reference_MF: np.ndarray, incoming_NF: np.ndarray, policy: DriftPolicy) -> str:
    labels = ["a", "b"]
    return decide_drift(
        reference_MF=reference_MF,
        incoming_NF=incoming_NF,
        reference_labels=[labels[row % 2] for row in range(len(reference_MF))],
        incoming_labels=[labels[row % 2] for row in range(len(incoming_NF))],
        classes=CLASSES,
        policy=policy,
    ).name
