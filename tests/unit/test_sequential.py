"""The bounds hold at every look at once, and are tight enough to promote within the counts that are documented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.rollout.measure import advance_levels
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.sequential import lower_bound, upper_bound

POLICY = RolloutPolicy()
LEVELS = advance_levels(POLICY)
NUM_ROLLOUTS = 2000
NUM_LOOKS = 60


@pytest.mark.parametrize("ratio", [0.0, 0.002, 0.01, 0.05, 0.2])
def test_the_true_ratio_is_inside_at_all_looks_together(ratio: float) -> None:
    rng = np.random.default_rng(20260101)
    num = 10 * np.arange(1, NUM_LOOKS + 1)
    bad = rng.binomial(10, ratio, (NUM_ROLLOUTS, NUM_LOOKS)).cumsum(axis=1)
    for alpha in (0.05, 0.01):
        assert np.mean((lower_bound(bad, num, alpha=alpha) > ratio).any(axis=1)) <= alpha
        assert np.mean((upper_bound(bad, num, alpha=alpha) < ratio).any(axis=1)) <= alpha


@pytest.mark.parametrize("stable_ratio", [0.0, 0.01, 0.05])
def test_a_canary_at_the_margin_is_promoted_at_most_as_often_as_alpha_says(stable_ratio: float) -> None:
    rng = np.random.default_rng(20260102)
    looks = np.arange(1, NUM_LOOKS + 1)
    canary = rng.binomial(10, stable_ratio + POLICY.error_margin, (NUM_ROLLOUTS, NUM_LOOKS)).cumsum(axis=1)
    stable = rng.binomial(90, stable_ratio, (NUM_ROLLOUTS, NUM_LOOKS)).cumsum(axis=1)
    upper = upper_bound(canary, 10 * looks, alpha=LEVELS.canary) - lower_bound(stable, 90 * looks, alpha=LEVELS.stable)
    assert np.mean((upper < POLICY.error_margin).any(axis=1)) <= POLICY.alpha_advance


@pytest.mark.parametrize(("num_errors", "num_needed"), [(0, 287), (1, 445), (2, 566)])
def test_a_harmless_canary_needs_so_many_requests(num_errors: int, num_needed: int) -> None:
    def harm_upper(num_canary: int) -> float:
        upper = upper_bound(num_errors, num_canary, alpha=LEVELS.canary)
        return float(upper - lower_bound(0, 5000, alpha=LEVELS.stable))

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
