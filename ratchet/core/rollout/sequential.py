"""Bounds on a ratio, and on the difference of two, that hold at every look at once.

For Bernoulli(p) requests with k bad ones among n, and any density f on (0, 1),

    M_n(p) = ∫ q^k (1-q)^(n-k) f(q) dq  /  p^k (1-p)^(n-k)

is a martingale that starts at 1, so P(M_n(p) >= 1/alpha for any n) <= alpha (Ville 1939). The set of p with
M_n(p) < 1/alpha therefore covers the true p at all n together with probability 1 - alpha: one may look as often as one
likes and stop when one likes. Source: Robbins, "Statistical methods related to the law of the iterated logarithm",
Ann. Math. Stat. 41 (1970); Howard, Ramdas, McAuliffe & Sekhon, Ann. Stat. 49 (2021), section 3.2 (conjugate mixtures).
With a beta density f the integral is a ratio of beta functions. Each bound uses the density that makes it tight where
it decides, which is free to choose as long as the data are not consulted.

The alpha of a policy is spent like this. Over steps: not at all, for the bounds run over the whole rollout. Rolling
back needs one metric out of two, so each gets half (union bound). Advancing needs every metric, so each may
use all of it (intersection-union test, Berger 1982). Between the arms 4:1, since the canary has fewer requests.

What this does not protect against: requests of one arm that fail together. Errors that come in bursts on one revision
(a bad node, a noisy neighbour) are not independent, and bursts on a healthy canary can look like proof. With errors in
bursts of 5 s on each arm by itself (gamma, shape 0.2), 1 % of healthy canaries are rolled back where both err on 1 % in
the mean, but 12 % where both err on 3 % (tests/unit/test_sequential.py). Where errors are that common and that bursty,
raise `error_tolerance`. The policy's `min_bad_requests` stops the smallest bursts; a shock that hits both arms is in
both and does no harm. Nor do the bounds see a base rate that drifts while the split changes (10 % to 50 %): the arms
then average over different times.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

Numbers = npt.NDArray[np.float64]
NumbersLike = npt.ArrayLike

_NUM_METRICS = 2
_CANARY_SHARE = 0.8
_UPPER_PRIOR = (0.5, 50.0)
"""Most mass under 2 %: the upper bound of a revision with hardly an error falls fastest."""
_LOWER_PRIOR = (2.0, 8.0)
"""Mean 20 %: the lower bound rises fastest for a revision that is plainly broken."""
_NUM_HALVINGS = 40
"""A bound to 2^-40, far finer than any request count can tell."""


class Bounds(NamedTuple):
    """One ratio (0..1) of each arm and the harm between them; numbers, or arrays of one shape."""

    canary_lower: Numbers
    canary_upper: Numbers
    stable_lower: Numbers
    stable_upper: Numbers

    @property
    def harm_lower(self) -> Numbers:
        """Canary minus stable, at least."""
        return self.canary_lower - self.stable_upper

    @property
    def harm_upper(self) -> Numbers:
        """Canary minus stable, at most."""
        return self.canary_upper - self.stable_lower


def bound_harm(
    *,
    num_bad_canary: NumbersLike,
    num_canary: NumbersLike,
    num_bad_stable: NumbersLike,
    num_stable: NumbersLike,
    alpha: float,
) -> Bounds:
    """Bounds of one metric at the levels that a policy's `alpha` leaves it (see above)."""
    roll_back, advance = alpha / _NUM_METRICS, alpha
    return Bounds(
        canary_lower=lower_bound(num_bad_canary, num_canary, alpha=roll_back * _CANARY_SHARE),
        stable_upper=upper_bound(num_bad_stable, num_stable, alpha=roll_back * (1 - _CANARY_SHARE)),
        canary_upper=upper_bound(num_bad_canary, num_canary, alpha=advance * _CANARY_SHARE),
        stable_lower=lower_bound(num_bad_stable, num_stable, alpha=advance * (1 - _CANARY_SHARE)),
    )


def lower_bound(num_bad: NumbersLike, num: NumbersLike, *, alpha: float) -> Numbers:
    """The least ratio (0..1) that the counts still allow, at all looks at once with probability 1 - alpha."""
    k, n = np.broadcast_arrays(np.asarray(num_bad, dtype=float), np.asarray(num, dtype=float))
    ratio = k / np.maximum(n, 1)
    return _root(k, n, excluded=np.zeros_like(ratio), allowed=ratio, prior=_LOWER_PRIOR, alpha=alpha)


def upper_bound(num_bad: NumbersLike, num: NumbersLike, *, alpha: float) -> Numbers:
    """The greatest ratio (0..1) that the counts still allow, at all looks at once with probability 1 - alpha."""
    k, n = np.broadcast_arrays(np.asarray(num_bad, dtype=float), np.asarray(num, dtype=float))
    ratio = k / np.maximum(n, 1)
    return _root(k, n, excluded=np.ones_like(ratio), allowed=ratio, prior=_UPPER_PRIOR, alpha=alpha)


def _root(
    k: Numbers, n: Numbers, *, excluded: Numbers, allowed: Numbers, prior: tuple[float, float], alpha: float
) -> Numbers:
    """Where log M(p) + log alpha crosses 0 between k/n and an end of (0, 1), by bisection: it is monotone there.

    Ends on the excluded side, so that rounding widens the interval.
    """
    a, b = prior
    log_mixture = betaln(a + k, b + n - k) - betaln(a, b) + np.log(alpha)
    for _ in range(_NUM_HALVINGS):
        middle = (excluded + allowed) / 2
        is_excluded = log_mixture >= _log_likelihood(k, n, middle)
        excluded = np.where(is_excluded, middle, excluded)
        allowed = np.where(is_excluded, allowed, middle)
    return excluded


def _log_likelihood(k: Numbers, n: Numbers, p: Numbers) -> Numbers:
    """log p^k (1-p)^(n-k), p inside (0, 1) except where rounding reaches an end; 0 log 0 = 0."""
    tiny = np.finfo(float).tiny
    return k * np.log(np.maximum(p, tiny)) + (n - k) * np.log1p(-np.minimum(p, 1 - 2**-53))
