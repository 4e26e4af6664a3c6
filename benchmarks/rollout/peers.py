"""What others do with the same worlds, and what nobody can do better."""

import numpy as np
from scipy.stats import norm

from benchmarks.rollout.worlds import BIN_EDGES_MS, NUM_BINS, Numbers, Traffic, World
from ratchet.core.rollout.policy import RolloutPolicy

FLAGGER_WEIGHTS_PCT = (10, 20, 30, 40, 50)
"""stepWeight 10, maxWeight 50, one step a minute: what Flagger's tutorials show."""
FLAGGER_SUCCESS_MIN = 0.99
FLAGGER_P99_MS_MAX = 500.0
KAYENTA_MINUTES = 10
KAYENTA_TOLERANCE = 0.25
_KAYENTA_RANK = 20
"""R's qwilcox(0.01, 10, 10): the confidence interval of level 0.98 begins at this difference."""
_MINUTE_S = 60.0
_MIDDLE_MS = np.append(BIN_EDGES_MS, BIN_EDGES_MS[-1] * 1.1)


class PeerEnds:
    """How the rollouts of one peer ended; arrays over the rollouts."""

    def __init__(self, num: int) -> None:
        self.rolled_back = np.zeros(num, dtype=bool)
        self.requests = np.zeros(num)
        """Canary requests until then, or until the promotion."""
        self.seconds = np.zeros(num)


def run_flagger(world: World, *, num: int, seed: int) -> PeerEnds:
    """Success rate >= 99 % and P99 <= 500 ms in each minute; the first failed check ends it (threshold 1).

    A minute without a request counts as failed, as in Flagger ("no values found").
    """
    traffic, ends, rows = Traffic(world, num, seed=seed), PeerEnds(num), np.arange(num)
    for minute, weight_pct in enumerate(FLAGGER_WEIGHTS_PCT, 1):
        seen = traffic.see(
            rows,
            at_s=np.full(num, minute * _MINUTE_S),
            look_s=_MINUTE_S,
            share=np.full(num, weight_pct / 100),
            mirrored=np.zeros(num, dtype=bool),
        )
        is_on = ~ends.rolled_back
        ends.requests += seen.canary * is_on
        ends.seconds += _MINUTE_S * is_on
        success = 1 - seen.canary_errors / np.maximum(seen.canary, 1)
        fails = (seen.canary == 0) | (success < FLAGGER_SUCCESS_MIN)
        fails |= _quantile_ms(seen.canary_bins, 0.99) > FLAGGER_P99_MS_MAX
        ends.rolled_back |= is_on & fails
    return ends


def run_mann_whitney(world: World, *, num: int, seed: int, weight_pct: int = 10) -> PeerEnds:
    """As Kayenta judges: ten one-minute points of canary and of a baseline of its size, at confidence 0.98.

    A metric fails when the interval of the shift begins over a quarter of the estimated shift. Errors are the ratio of
    each minute, latency its 95th percentile. Its guide asks for 50 points and three hours.
    """
    traffic, ends, rows = Traffic(world, num, seed=seed), PeerEnds(num), np.arange(num)
    points = np.zeros((num, KAYENTA_MINUTES, 4))
    cohort = np.random.default_rng((seed, 3))
    for minute in range(KAYENTA_MINUTES):
        seen = traffic.see(
            rows,
            at_s=np.full(num, (minute + 1) * _MINUTE_S),
            look_s=_MINUTE_S,
            share=np.full(num, weight_pct / 100),
            mirrored=np.zeros(num, dtype=bool),
        )
        size = np.minimum(seen.canary, seen.stable).astype(int)
        bad = (
            cohort.hypergeometric(
                seen.stable_errors.astype(int), (seen.stable - seen.stable_errors).astype(int), np.maximum(size, 1)
            )
            if seen.stable.min() > 0
            else np.zeros(num)
        )
        points[:, minute, 0] = seen.canary_errors / np.maximum(seen.canary, 1)
        points[:, minute, 1] = bad / np.maximum(size, 1)
        points[:, minute, 2] = _quantile_ms(seen.canary_bins, 0.95)
        points[:, minute, 3] = _quantile_ms(seen.stable_bins, 0.95)
        ends.requests += seen.canary
    ends.seconds[:] = KAYENTA_MINUTES * _MINUTE_S
    ends.rolled_back = _is_high(points[:, :, 0], points[:, :, 1]) | _is_high(points[:, :, 2], points[:, :, 3])
    return ends


def wald_requests(ratio: float, worse: float, *, alpha: float, beta: float = 0.01, num: int = 20_000) -> float:
    """Canary requests that Wald's test needs in the mean when the canary is worse: it knows both ratios.

    No test of the same error level needs fewer (Wald & Wolfowitz 1948). Simulated, so that its overshoot counts.
    """
    rng = np.random.default_rng(20260105)
    upper, lower = np.log((1 - beta) / alpha), np.log(beta / (1 - alpha))
    bad, good = np.log(worse / ratio), np.log(max(1 - worse, 1e-12) / (1 - ratio))
    evidence, requests, is_on = np.zeros(num), np.zeros(num), np.ones(num, dtype=bool)
    while is_on.any():
        evidence += np.where(rng.random(num) < worse, bad, good) * is_on
        requests += is_on
        is_on &= (evidence < upper) & (evidence > lower)
    return float(requests.mean())


def p95_ratios(world: World) -> tuple[float, float]:
    """The share of requests over stable's 95th percentile, of stable and of the canary."""
    shift = np.log(world.latency_factor) / world.latency_sigma
    return 0.05, float(norm.sf(norm.isf(0.05) - shift))


def wald_of(world: World, policy: RolloutPolicy) -> float:
    """Wald's requests for what is worse in this world, at the judge's own level."""
    if world.very_slow:  # where stable has none, a ratio of nothing would be proof by the first
        ratio = world.very_slow_both or world.error_ratio
        return wald_requests(ratio, ratio + world.very_slow, alpha=policy.alpha_withdraw)
    if world.more_errors:
        worse = world.error_ratio + world.more_errors
        return wald_requests(world.error_ratio, worse, alpha=policy.alpha_withdraw)
    return wald_requests(*p95_ratios(world), alpha=policy.alpha_withdraw)


def _is_high(canary: Numbers, baseline: Numbers) -> Numbers:
    shifts = np.sort((canary[:, :, None] - baseline[:, None, :]).reshape(len(canary), -1), axis=1)
    estimate = np.median(shifts, axis=1)
    return np.asarray(shifts[:, _KAYENTA_RANK - 1] > KAYENTA_TOLERANCE * np.abs(estimate))


def _quantile_ms(bins: Numbers, quantile: float) -> Numbers:
    below = bins.cumsum(axis=1)
    at = (below >= quantile * below[:, -1:]).argmax(axis=1)
    return np.asarray(np.where(below[:, -1] > 0, _MIDDLE_MS[np.minimum(at, NUM_BINS - 1)], 0.0))
