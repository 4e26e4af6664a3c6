"""The bounds hold at every look at once, and are tight enough to promote within the counts that are documented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.rollout.evidence import advance_levels
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.sequential import beside, lower_bound, upper_bound

pytestmark = pytest.mark.slow

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


strata = st.lists(
    st.tuples(st.integers(1, 400), st.integers(1, 4_000), st.floats(0, 1)), min_size=1, max_size=4
)  # canary's requests, stable's, and the ratio that both have there


@given(strata)
def test_arms_that_are_alike_in_each_phase_show_no_harm_over_all_of_them(phases):
    """Simpson's paradox: whatever the splits, and however the ratio changes from phase to phase."""
    canary, stable = ([phase[arm] for phase in phases] for arm in (0, 1))
    canary_bad, stable_bad = ([phase[arm] * phase[2] for phase in phases] for arm in (0, 1))
    bad, num = beside(canary, stable_bad, stable)
    assert bad / num == pytest.approx(sum(canary_bad) / sum(canary), abs=1e-9)
    lower = lower_bound(sum(canary_bad), sum(canary), alpha=0.01)
    assert lower <= upper_bound(bad, num, alpha=0.01)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=4), st.integers(1, 9))
def test_with_one_split_the_weighted_counts_are_the_plain_sums(phases, times):
    canary, stable = [num for num, _ in phases], [num * times for num, _ in phases]
    stable_bad = [min(bad, num) for (_, bad), num in zip(phases, stable, strict=True)]
    bad, num = beside(canary, stable_bad, stable)
    assert (bad, num) == (pytest.approx(sum(stable_bad)), pytest.approx(sum(stable)))


@pytest.mark.parametrize(
    ("canary", "stable_bad", "stable", "expected"),
    [
        pytest.param([300, 22], [60, 0], [300, 1795], 60 / 322, id="60-of-322-beside-60-of-2095"),
        pytest.param([0, 22], [60, 0], [300, 1795], 0.0, id="stable-counts-where-the-canary-is"),
        pytest.param([50, 50], [5, 0], [50, 0], 0.05, id="without-stable-none-failed"),
    ],
)
def test_stable_is_weighted_as_the_canary_is(canary, stable_bad, stable, expected):
    bad, num = beside(canary, stable_bad, stable)
    assert bad / num == pytest.approx(expected)
