"""Bounds on a ratio that hold at every look at once.

For Bernoulli(p) requests with k bad ones among n, and any density f on (0, 1),

    M_n(p) = ∫ q^k (1-q)^(n-k) f(q) dq  /  p^k (1-p)^(n-k)

is a martingale that starts at 1, so P(M_n(p) >= 1/alpha for any n) <= alpha (Ville 1939). The set of p with
M_n(p) < 1/alpha therefore covers the true p at all n together with probability 1 - alpha: one may look as often as one
likes and stop when one likes. Source: Robbins, "Statistical methods related to the law of the iterated logarithm",
Ann. Math. Stat. 41 (1970); Howard, Ramdas, McAuliffe & Sekhon, Ann. Stat. 49 (2021), section 3.2 (conjugate mixtures).
With a beta density f the integral is a ratio of beta functions. Each bound uses the density that makes it tight where
it decides, which is free to choose as long as the data are not consulted.

Phases split the traffic differently (a copy of everything in the dark, then 10 %, then 50 %), so over several of them
the arms average over different times. So `beside` compares the canary with stable as it was where the canary was.

What this does not protect against: requests of one arm that fail together. Errors that come in bursts on one revision
(a bad node, a noisy neighbour) are not independent. So these bounds promote, and condemn only harm so gross that no
burst explains it; evidence.py has the tests for the rest.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

Numbers = npt.NDArray[np.float64]
NumbersLike = npt.ArrayLike

_UPPER_PRIOR = (0.5, 50.0)
"""Most mass under 2 %: the upper bound of a revision with hardly an error falls fastest."""
_LOWER_PRIOR = (2.0, 8.0)
"""Mean 20 %: the lower bound rises fastest for a revision that is plainly broken."""
_NUM_HALVINGS = 40
"""A bound to 2^-40, far finer than any request count can tell."""


def beside(canary_S: NumbersLike, stable_bad_S: NumbersLike, stable_S: NumbersLike) -> tuple[Numbers, Numbers]:
    """Stable's bad requests and requests, weighted as the canary's requests are over S strata; S is the last axis.

    The ratio is the directly standardised one, sum of w_i k_i / n_i with the canary's shares w_i (as in Cochran, "Some
    methods for strengthening the common chi-squared tests", Biometrics 10, 1954); the number is the effective one, 1 /
    sum of w_i^2 / n_i (Kish, "Survey Sampling", 1965). With one split in all strata both are the plain sums. Where
    stable has no request it is taken to have failed on none. Shares follow from the routing, never from outcomes.
    """
    canary, bad, num = (np.asarray(value, dtype=float) for value in (canary_S, stable_bad_S, stable_S))
    total = canary.sum(axis=-1)
    share = canary / np.maximum(total, 1)[..., None]
    ratio = (share * bad / np.maximum(num, 1)).sum(axis=-1)
    variance = np.where(num > 0, share**2 / np.maximum(num, 1), 0.0).sum(axis=-1)
    is_known = variance > 0
    size = np.where(is_known, 1 / np.where(is_known, variance, 1.0), num.sum(axis=-1))
    return np.where(is_known, ratio * size, bad.sum(axis=-1)), size


def lower_bound(num_bad: NumbersLike, num: NumbersLike, *, alpha: NumbersLike) -> Numbers:
    """The least ratio (0..1) that the counts still allow, at all looks at once with probability 1 - alpha."""
    k, n = np.broadcast_arrays(np.asarray(num_bad, dtype=float), np.asarray(num, dtype=float))
    ratio = k / np.maximum(n, 1)
    return _root(k, n, excluded=np.zeros_like(ratio), allowed=ratio, prior=_LOWER_PRIOR, alpha=alpha)


def upper_bound(num_bad: NumbersLike, num: NumbersLike, *, alpha: NumbersLike) -> Numbers:
    """The greatest ratio (0..1) that the counts still allow, at all looks at once with probability 1 - alpha."""
    k, n = np.broadcast_arrays(np.asarray(num_bad, dtype=float), np.asarray(num, dtype=float))
    ratio = k / np.maximum(n, 1)
    return _root(k, n, excluded=np.ones_like(ratio), allowed=ratio, prior=_UPPER_PRIOR, alpha=alpha)


def _root(
    k: Numbers, n: Numbers, *, excluded: Numbers, allowed: Numbers, prior: tuple[float, float], alpha: NumbersLike
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
