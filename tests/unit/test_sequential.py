"""The bounds hold at every look at once, and are tight enough to decide within the counts that the policy documents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.sequential import Bounds, bound_harm, lower_bound, upper_bound

POLICY = RolloutPolicy()
NUM_ROLLOUTS = 2000
NUM_LOOKS = 60
CANARY_PER_LOOK, STABLE_PER_LOOK = 4, 36
"""80 requests/s, 10 % to the canary, a look each half second."""


Ratio = float | np.ndarray


def simulate(rng: np.random.Generator, *, canary_ratio: Ratio, stable_ratio: Ratio) -> tuple[Bounds, np.ndarray]:
    """Bounds at each look of many rollouts, and the canary's bad requests; arrays (rollouts, looks)."""
    shape = (NUM_ROLLOUTS, NUM_LOOKS)
    bad_canary = rng.binomial(CANARY_PER_LOOK, canary_ratio, shape).cumsum(axis=1)
    bad_stable = rng.binomial(STABLE_PER_LOOK, stable_ratio, shape).cumsum(axis=1)
    looks = np.arange(1, NUM_LOOKS + 1)
    bounds = bound_harm(
        num_bad_canary=bad_canary,
        num_canary=CANARY_PER_LOOK * looks,
        num_bad_stable=bad_stable,
        num_stable=STABLE_PER_LOOK * looks,
        alpha=POLICY.alpha,
    )
    return bounds, bad_canary


def roll_back_looks(bounds: Bounds, bad_canary: np.ndarray, tolerance: float) -> np.ndarray:
    """The look at which each rollout went back, NUM_LOOKS when it never did."""
    is_proven = (bounds.harm_lower > tolerance) & (bad_canary >= POLICY.min_bad_requests)
    return np.where(is_proven.any(axis=1), is_proven.argmax(axis=1), NUM_LOOKS)


@pytest.mark.parametrize("ratio", [0.0, 0.002, 0.01, 0.05, 0.2])
def test_healthy_canaries_go_back_at_most_as_often_as_alpha_says(ratio: float) -> None:
    """Both metrics, 60 looks each: a z-test repeated so is wrong in 32 of 100 ."""
    rng = np.random.default_rng(20260101)
    looks = [
        roll_back_looks(*simulate(rng, canary_ratio=ratio, stable_ratio=ratio), tolerance)
        for tolerance in (POLICY.error_tolerance, POLICY.slow_tolerance)
    ]
    assert np.mean(np.minimum(*looks) < NUM_LOOKS) <= POLICY.alpha


@pytest.mark.parametrize("stable_ratio", [0.0, 0.01, 0.05])
def test_at_the_limits_both_mistakes_stay_under_alpha(stable_ratio: float) -> None:
    """The worst canary that may stay is the one at the tolerance; the best that must not pass is at the margin."""
    rng = np.random.default_rng(20260102)
    tolerable, bad = simulate(rng, canary_ratio=stable_ratio + POLICY.error_tolerance, stable_ratio=stable_ratio)
    harmful, _ = simulate(rng, canary_ratio=stable_ratio + POLICY.error_margin, stable_ratio=stable_ratio)
    advanced = (harmful.harm_upper < POLICY.error_margin).any(axis=1)
    assert np.mean(roll_back_looks(tolerable, bad, POLICY.error_tolerance) < NUM_LOOKS) <= POLICY.alpha
    assert np.mean(advanced) <= POLICY.alpha


@pytest.mark.parametrize(
    ("canary_ratio", "median_max", "share_within_60_min"),
    [
        pytest.param(0.10, 76, 0.35, id="10-percent"),
        pytest.param(0.15, 44, 0.75, id="15-percent"),
        pytest.param(0.20, 28, 0.95, id="20-percent"),
        pytest.param(0.50, 16, 1.0, id="half"),
    ],
)
def test_a_canary_that_errs_is_caught_within_few_requests(
    canary_ratio: float, median_max: int, share_within_60_min: float
) -> None:
    rng = np.random.default_rng(20260103)
    looks = roll_back_looks(*simulate(rng, canary_ratio=canary_ratio, stable_ratio=0.002), POLICY.error_tolerance)
    num_requests = (looks + 1) * CANARY_PER_LOOK
    assert np.median(num_requests) <= median_max
    assert np.mean(num_requests <= 60) >= share_within_60_min


@pytest.mark.parametrize(
    ("mean_ratio", "is_within_alpha"),
    [
        pytest.param(0.002, True, id="rare-errors"),
        pytest.param(0.01, True, id="1-percent"),
        pytest.param(0.03, False, id="3-percent-is-beyond-the-promise"),
    ],
)
def test_bursts_in_one_arm_are_borne_only_while_errors_are_rare(mean_ratio: float, is_within_alpha: bool) -> None:
    """The limit that `sequential.py` documents, so that whoever lifts it has to say so."""
    rng = np.random.default_rng(20260104)
    canary, stable = (
        np.repeat(np.minimum(rng.gamma(0.2, mean_ratio / 0.2, (NUM_ROLLOUTS, NUM_LOOKS // 10)), 1), 10, axis=1)
        for _ in range(2)
    )
    looks = roll_back_looks(*simulate(rng, canary_ratio=canary, stable_ratio=stable), POLICY.error_tolerance)
    assert (np.mean(looks < NUM_LOOKS) <= POLICY.alpha) == is_within_alpha


@pytest.mark.parametrize(
    ("num_errors", "num_needed"), [pytest.param(0, 107), pytest.param(1, 194), pytest.param(2, 260)]
)
def test_a_harmless_canary_needs_as_many_requests_as_the_policy_says(num_errors: int, num_needed: int) -> None:
    def harm_upper(num_canary: int) -> float:
        bounds = bound_harm(
            num_bad_canary=num_errors, num_canary=num_canary, num_bad_stable=0, num_stable=1000, alpha=POLICY.alpha
        )
        return float(bounds.harm_upper)

    assert harm_upper(num_needed - 1) >= POLICY.error_margin > harm_upper(num_needed)


def test_without_requests_everything_is_possible() -> None:
    assert float(lower_bound(0, 0, alpha=0.05)) == 0.0
    assert float(upper_bound(0, 0, alpha=0.05)) == 1.0


counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_bounds_hold_the_ratio_between_them(pair: tuple[int, int]) -> None:
    bad, num = pair
    assert 0 <= lower_bound(bad, num, alpha=0.05) <= bad / num <= upper_bound(bad, num, alpha=0.05) <= 1


@given(counts)
def test_one_more_bad_request_never_lowers_a_bound(pair: tuple[int, int]) -> None:
    bad, num = pair
    if bad < num:
        assert lower_bound(bad, num, alpha=0.05) <= lower_bound(bad + 1, num, alpha=0.05) + 1e-9
        assert upper_bound(bad, num, alpha=0.05) <= upper_bound(bad + 1, num, alpha=0.05) + 1e-9
