"""Wealth that only harm can earn: valid at every look, and votes that a burst moves once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.rollout.betting import Counts, bet_on, bet_on_votes, capped, log_gain, log_sum, start_wealth, vote
from ratchet.core.rollout.wealth import BET_SHARES, ERROR_START, VOTE_SHARES

pytestmark = pytest.mark.slow

HARMS = (0.02, 0.05, 0.2)
NUM_ROLLOUTS = 4000


def counts(canary_bad: float, canary: float, stable_bad: float, stable: float) -> Counts:
    return Counts(*(np.array([float(value)]) for value in (canary_bad, canary, stable_bad, stable)))


def exact_mean(canary: int, stable: int, *, ratio: float, harm: float, guess: float, tolerance: float) -> np.ndarray:
    """E[exp(gain)] over all outcomes of one window."""
    from scipy.stats import binom

    bad_c, bad_s = np.meshgrid(np.arange(canary + 1), np.arange(stable + 1), indexing="ij")
    window = Counts(
        bad_c.astype(float),
        np.full(bad_c.shape, float(canary)),
        bad_s.astype(float),
        np.full(bad_c.shape, float(stable)),
    )
    gains = log_gain(window, stable_ratio=np.full(bad_c.shape, guess), harms=HARMS, tolerance=tolerance)
    weight = binom.pmf(bad_c, canary, ratio + harm) * binom.pmf(bad_s, stable, ratio)
    return (weight[..., None] * np.exp(gains)).sum(axis=(0, 1))


@given(
    st.integers(0, 6),
    st.integers(0, 12),
    st.floats(0, 0.9).map(lambda ratio: round(ratio, 6)),
    st.floats(0, 1),
    st.floats(0.001, 0.5),
    st.sampled_from([0.0, 0.01, 0.1]),
)
@settings(max_examples=100, deadline=None)
def test_no_bet_gains_in_the_mean_while_the_canary_is_no_worse(
    canary: int, stable: int, ratio: float, share: float, guess: float, tolerance: float
) -> None:
    """Whatever the ratio, whatever was guessed, for any harm up to the tolerance."""
    harm = tolerance * (1 - ratio) * share
    mean = exact_mean(canary, stable, ratio=ratio, harm=harm, guess=guess, tolerance=tolerance)
    assert (mean <= 1 + 1e-9).all()


@pytest.mark.parametrize("ratio", [0.0, 0.002, 0.02, 0.2])
def test_wealth_is_rarely_great_without_harm_however_often_one_looks(ratio: float) -> None:
    rng = np.random.default_rng(20260103)
    wealth, most = start_wealth(BET_SHARES, (NUM_ROLLOUTS,)), np.zeros(NUM_ROLLOUTS)
    for _ in range(200):
        window = Counts(
            *(
                np.asarray(rng.binomial(n, ratio, NUM_ROLLOUTS), float)
                if i % 2 == 0
                else np.full(NUM_ROLLOUTS, float(n))
                for i, n in enumerate((8, 8, 72, 72))
            )
        )
        gains = log_gain(window, stable_ratio=np.full(NUM_ROLLOUTS, max(ratio, 0.003)), harms=HARMS)
        wealth = bet_on(wealth, gains, window.canary, start=ERROR_START)
        most = np.maximum(most, log_sum(wealth))
    for alpha in (0.05, 0.01):
        assert np.mean(most >= -np.log(alpha)) <= alpha


def test_thrown_away_wealth_is_gone() -> None:
    wealth = start_wealth(BET_SHARES) + 10.0
    assert log_sum(capped(wealth, 5.0)) == pytest.approx(5.0)
    assert (capped(wealth, 50.0) == wealth).all()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param(counts(0, 10, 0, 100), 0.0, id="no-errors"),
        pytest.param(counts(10, 10, 0, 100), 1.0, id="only-the-canary"),
        pytest.param(counts(0, 10, 100, 100), -1.0, id="only-stable"),
        pytest.param(counts(1, 10, 10, 100), None, id="as-often"),
    ],
)
def test_a_block_votes_for_the_arm_that_did_worse(block: Counts, expected: float | None) -> None:
    found = float(vote(block, tolerance=0.0)[0])
    assert abs(found) < 0.5 if expected is None else found == pytest.approx(expected, abs=1e-9)


arms = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(arms, arms)
@settings(deadline=None)
def test_a_vote_is_the_other_way_round_when_the_arms_are(canary: tuple[int, int], stable: tuple[int, int]) -> None:
    there, back = vote(counts(*canary, *stable), tolerance=0.0), vote(counts(*stable, *canary), tolerance=0.0)
    assert float(there[0]) == pytest.approx(-float(back[0]), abs=1e-6)
    assert -1 <= float(there[0]) <= 1


@given(arms, arms)
@settings(deadline=None)
def test_more_errors_of_the_canary_never_move_the_vote_to_stable(
    canary: tuple[int, int], stable: tuple[int, int]
) -> None:
    bad, num = canary
    if bad < num:
        less, more = (float(vote(counts(each, num, *stable), tolerance=0.01)[0]) for each in (bad, bad + 1))
        assert more >= less - 1e-6


def test_the_vote_of_a_block_is_the_mean_sign_over_random_slices() -> None:
    rng = np.random.default_rng(20260104)
    found = float(vote(counts(5, 40, 10, 400), tolerance=0.01)[0])
    slices = rng.hypergeometric(10, 390, 40, 200_000) + rng.binomial(40, 0.01, 200_000)
    assert found == pytest.approx(float(np.sign(5 - slices).mean()), abs=0.01)


def test_errors_that_burst_on_either_arm_condemn_nobody() -> None:
    """Gamma of shape 0.2 in each block and arm; equal means. Naive counts are wrong in 35 of 100 such rollouts."""
    rng = np.random.default_rng(20260105)
    wealth, most = start_wealth(VOTE_SHARES, (NUM_ROLLOUTS,)), np.zeros(NUM_ROLLOUTS)
    for _ in range(60):
        ratios = np.minimum(0.002 * rng.gamma(0.2, 5.0, (2, NUM_ROLLOUTS)), 1)
        bad = [np.asarray(rng.binomial(n, ratio), float) for n, ratio in zip((60, 540), ratios, strict=True)]
        block = Counts(bad[0], np.full(NUM_ROLLOUTS, 60.0), bad[1], np.full(NUM_ROLLOUTS, 540.0))
        wealth = bet_on_votes(wealth, vote(block, tolerance=0.001))
        most = np.maximum(most, log_sum(wealth))
    assert np.mean(most >= -np.log(0.01)) <= 0.01
