"""Evidence that may be looked at whenever one likes: the wealth of bets against "the canary is no worse". Pure arrays.

An e-process is the wealth of a gambler who starts with 1 and bets on each window before he sees it. If the null
hypothesis is true no strategy makes him rich: P(wealth ever >= 1/alpha) <= alpha (Ville 1939; Shafer, "Testing by
betting", JRSS A 184, 2021; Ramdas, Grünwald, Vovk & Shafer, "Game-theoretic statistics and safe anytime-valid
inference", Stat. Sci. 38, 2023). All functions work on arrays whose first axes are any batch, so that the judge (a
batch of 1) and the simulator (a batch of thousands) run the same arithmetic. Logarithms are natural.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Numbers = npt.NDArray[np.float64]

CASH = 0.1
"""Share of the wealth that is not bet: a canary that is good for an hour and then fails must not first win back what
was lost in that hour."""
_SPREAD_REQUESTS = 1000.0
"""Canary requests after which the wealth has been spread anew over all bets (fixed share, Herbster & Warmuth 1998)."""
_BET_RATIO_MAX = 0.95
"""Below 1: who bets that every answer is an error loses all wealth for good at the first answer that is none."""
VOTE_STAKES = np.array([0.3, 0.7, 0.95])
"""Shares of the wealth that are put on each vote; the best of them is not known beforehand, so each gets a third."""
_COHORT_MAX = 300
"""Requests of each arm that a vote compares at most: more add nothing to a sign, and time."""
_TAIL = 1e-12


class Counts(NamedTuple):
    """Bad requests and requests of both arms in one window; arrays of one shape."""

    canary_bad: Numbers
    canary: Numbers
    stable_bad: Numbers
    stable: Numbers


class Bets(NamedTuple):
    """Harms that are bet on, and each one's share of what is bet."""

    harms: tuple[float, ...]
    shares: tuple[float, ...]


def start_wealth(shares: Sequence[float], batch: tuple[int, ...] = ()) -> Numbers:
    """Log wealth (*batch, num_bets + 1); the last column is cash."""
    start = np.log(np.append((1 - CASH) * np.asarray(shares), CASH))
    return np.broadcast_to(start, (*batch, len(start))).copy()


def log_sum(log_wealth: Numbers) -> Numbers:
    """The log of the whole wealth."""
    # The largest is taken out first: exp of more than 709 overflows.
    top = log_wealth.max(axis=-1)
    return np.asarray(top + np.log(np.exp(log_wealth - top[..., None]).sum(axis=-1)))


def bet_on(log_wealth: Numbers, gains: Numbers, num_canary: Numbers, *, start: Numbers) -> Numbers:
    """The wealth after one more window of `num_canary` requests: spread, then bet.

    gains: (*batch, num_bets), as `log_gain` says. start: the log wealth (num_bets + 1,) of the beginning.
    """
    # expm1 and log1p keep the digits where few requests move next to nothing.
    moved = -np.expm1(-num_canary / _SPREAD_REQUESTS)[..., None]
    # Without requests nothing moves, and the log of nothing is -inf, as it should be.
    with np.errstate(divide="ignore"):
        after = np.logaddexp(np.log1p(-moved) + log_wealth, np.log(moved) + log_sum(log_wealth)[..., None] + start)
    after[..., :-1] += gains
    return np.asarray(after)


def capped(log_wealth: Numbers, log_max: float) -> Numbers:
    """The wealth after throwing away what is over e^log_max, which nobody can be the richer for."""
    return np.asarray(log_wealth - np.maximum(log_sum(log_wealth) - log_max, 0.0)[..., None])


def log_gain(counts: Counts, *, stable_ratio: Numbers, harms: Sequence[float], tolerance: float = 0.0) -> Numbers:
    """What one window's bets gain: (*batch, num_bets).

    Whatever stable's ratio p is in this window, E[exp(gain)] <= 1 while the canary's is at most p + tolerance (1 - p).
    It is the growth-optimal bet on two samples (Turner, Ly & Grünwald, "Generic e-variables for exact sequential
    k-sample tests", 2024): the likelihood under the ratios bet on, over the likelihood under their average. Each window
    may have a ratio of its own, so days, and shocks that hit both arms, do no harm. A tolerance is had by letting
    stable fail a little more: a good answer of stable counts as bad with that probability, and the gain is the
    expectation over it.
    `stable_ratio` is a guess from windows before this one: a bad guess costs power, never certainty.
    """
    canary_bad, canary, stable_bad, stable = (value[..., None] for value in counts)
    bet_stable = stable_ratio[..., None] + tolerance * (1 - stable_ratio[..., None])
    bet_canary = np.minimum(stable_ratio[..., None] + np.asarray(harms), _BET_RATIO_MAX)
    bet_stable = np.minimum(bet_stable, bet_canary)
    pooled = (canary * bet_canary + stable * bet_stable) / np.maximum(canary + stable, 1)
    pooled = np.where(canary + stable > 0, pooled, bet_stable)
    stable_good = (1 - tolerance) * (1 - bet_stable) / (1 - pooled) + tolerance * bet_stable / pooled
    return np.asarray(
        canary_bad * np.log(bet_canary / pooled)
        + (canary - canary_bad) * np.log((1 - bet_canary) / (1 - pooled))
        + stable_bad * np.log(bet_stable / pooled)
        + (stable - stable_bad) * np.log(stable_good)
    )


def log_gain_over(num_bad: Numbers, num: Numbers, *, ratio_max: float | Numbers, ratios: Numbers) -> Numbers:
    """The same for one sample against "its ratio is at most `ratio_max`" (or exactly that, for bets on either side)."""
    bad, good = num_bad[..., None], (num - num_bad)[..., None]
    return np.asarray(bad * np.log(ratios / ratio_max) + good * np.log((1 - ratios) / (1 - ratio_max)))


def vote(counts: Counts, *, tolerance: float) -> Numbers:
    """Which arm did worse in a block, -1 (stable) to 1 (canary): one vote, whatever number of requests failed.

    The cohorts are equal in size and concurrent: a random slice of the larger arm as large as the smaller one. Its bad
    requests are hypergeometric, so the expected sign of the difference needs no dice and can be replayed. If the arms
    are alike, and however their errors burst within a block, the vote has mean 0; with stable failing on a share
    `tolerance` of its slice besides, a canary that is worse by no more has a mean of at most 0.
    """
    size = np.minimum(np.minimum(counts.canary, counts.stable), _COHORT_MAX)
    support = np.arange(int(min(_COHORT_MAX, max(counts.canary_bad.max(), counts.stable_bad.max(), 0))) + 1)
    canary = _slice_of(counts.canary_bad, counts.canary, size, support)
    stable = _with_more(_slice_of(counts.stable_bad, counts.stable, size, support), size, tolerance)
    below = stable.cumsum(axis=-1) - stable
    above = 1 - below - stable
    return np.asarray(np.clip((canary * (below - above)).sum(axis=-1), -1.0, 1.0))


def bet_on_votes(log_wealth: Numbers, votes: Numbers) -> Numbers:
    """The wealth after one more vote; (*batch, num_stakes + 1)."""
    after = log_wealth.copy()
    after[..., :-1] += np.log1p(VOTE_STAKES * votes[..., None])
    return np.asarray(after)


def _slice_of(num_bad: Numbers, num: Numbers, size: Numbers, support: npt.NDArray[np.int_]) -> Numbers:
    """P(a random slice of `size` requests has x bad ones), x in `support`: hypergeometric, (*batch, support)."""
    x = support.astype(float)
    bad, total, drawn = num_bad[..., None], num[..., None], size[..., None]
    is_possible = (x <= bad) & (x <= drawn) & (drawn - x <= total - bad)
    ways = _log_choose(bad, np.minimum(x, bad)) + _log_choose(total - bad, np.clip(drawn - x, 0, total - bad))
    return np.where(is_possible, np.exp(ways - _log_choose(total, drawn)), 0.0)


def _with_more(shares: Numbers, size: Numbers, tolerance: float) -> Numbers:
    """The distribution of x + Binomial(size, tolerance), on the support of x; what leaves it is over everything."""
    after, more = np.zeros_like(shares), (1 - tolerance) ** size
    num_more = 0
    while num_more < shares.shape[-1] and float(np.max(more)) > _TAIL:
        after[..., num_more:] += more[..., None] * shares[..., : shares.shape[-1] - num_more]
        num_more += 1
        more = more * np.maximum(size - num_more + 1, 0) / num_more * tolerance / (1 - tolerance)
    return after


def _log_choose(n: Numbers, k: Numbers) -> Numbers:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
