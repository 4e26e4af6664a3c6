"""What the memory proves (`Evidence`), in numbers that a decision and a picture need. Pure."""

from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Progress
from ratchet.core.rollout.quality_evidence import accuracy_harm_lower, score_shift_lower
from ratchet.core.rollout.sequential import beside, lower_bound, upper_bound
from ratchet.core.rollout.wealth import (
    CONDEMN_SHARE,
    DIGITS,
    WITHDRAW_SHARE,
    condemn_limit,
    failure_log_e,
    gross_alpha,
    total_of,
    withdraw_limit,
)
from ratchet.core.rollout.window import Window

ERRORS, SLOW, VERY_SLOW = "errors", "slow requests", "very slow requests"
_CANARY_SHARE = 0.8
GROSS_SHARE = 0.5


class Interval(BaseModel):
    """A ratio (0..1) as counted and the range that the counts leave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bad: int
    num: int
    lower: float
    upper: float


class Harm(BaseModel):
    """One metric of both arms: errors, slow or very slow requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    """`ERRORS`, `SLOW` or `VERY_SLOW`."""
    canary: Interval
    stable: Interval
    margin: float
    gross: float
    """Harm in this phase and step, at least: what no burst explains when it is over `gross_limit`."""
    gross_limit: float

    @property
    def lower(self) -> float:
        """Canary minus stable, at least."""
        return self.canary.lower - self.stable.upper

    @property
    def upper(self) -> float:
        """Canary minus stable, at most."""
        return self.canary.upper - self.stable.lower


class TestValue(BaseModel):
    """One test: its evidence as a log wealth (natural), and the wealth at which it speaks."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    __test__ = False

    name: str
    log_e: float
    limit: float

    @property
    def is_over(self) -> bool:
        return self.log_e >= self.limit


def _test_of_old(name: str) -> TestValue:
    """Of records from before the test: no evidence."""
    return TestValue(name=name, log_e=0.0, limit=1.0)


class Evidence(BaseModel):
    """What everything so far proves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: Harm
    slow: Harm
    very_slow: Harm | None = None
    """None in records from before it was measured."""
    fast_error: TestValue
    fast_slow: TestValue
    votes_error: TestValue
    votes_slow: TestValue
    share: TestValue
    accuracy: TestValue
    disagreement: TestValue
    votes_very_slow: TestValue = _test_of_old("very slow, votes")
    row: TestValue = _test_of_old("errors in a row")
    refusal_harm: float = 0.0
    """Canary minus stable, share of refused requests (4xx) in this phase and step, at least."""
    accuracy_harm: float = 0.0
    """Canary minus stable, share of wrong answers, at least."""
    score_shift: float = 0.0
    """Distance between the distributions of the scores, at least."""

    @property
    def tests(self) -> tuple[TestValue, ...]:
        return (
            self.fast_error,
            self.fast_slow,
            self.votes_error,
            self.votes_slow,
            self.votes_very_slow,
            self.row,
            self.share,
            self.accuracy,
            self.disagreement,
        )


class Levels(NamedTuple):
    """The alphas of the bounds of one metric, canary and stable."""

    canary: float
    stable: float


def advance_levels(policy: RolloutPolicy) -> Levels:
    return Levels(policy.alpha_advance * _CANARY_SHARE, policy.alpha_advance * (1 - _CANARY_SHARE))


def measure(progress: Progress, policy: RolloutPolicy) -> Evidence:
    """Bounds and test values from everything seen so far."""
    error, slow, very_slow = _measure_harms(progress, policy)
    quality = progress.quality
    return Evidence(
        error=error,
        slow=slow,
        very_slow=very_slow,
        fast_error=_fast_error(progress, policy),
        fast_slow=_test("latency, fast", progress.latency_wealth, withdraw_limit("slow", policy)),
        votes_error=_test("errors, votes", progress.error_votes.log_wealth, condemn_limit("errors", policy)),
        votes_slow=_test("latency, votes", progress.slow_votes.log_wealth, condemn_limit("slow", policy)),
        votes_very_slow=_test(
            "very slow, votes", progress.very_slow_votes.log_wealth, condemn_limit("very_slow", policy)
        ),
        row=_test("errors in a row", progress.row_wealth, condemn_limit("row", policy)),
        refusal_harm=_refusal_harm(progress.recent, policy),
        share=_test("traffic share", progress.share_wealth, float(-np.log(policy.alpha_share))),
        accuracy=_test("accuracy", quality.accuracy_wealth, withdraw_limit("accuracy", policy)),
        disagreement=_test("disagreement", quality.disagreement_wealth, withdraw_limit("agreement", policy)),
        accuracy_harm=accuracy_harm_lower(quality.strata, alpha=policy.alpha_condemn * CONDEMN_SHARE["accuracy"]),
        score_shift=score_shift_lower(quality.total, alpha=policy.alpha_withdraw * WITHDRAW_SHARE["agreement"]),
    )


def _refusal_harm(recent: Window, policy: RolloutPolicy) -> float:
    """Bounds as for errors. Clients send both revisions the same mix, so a difference is the revision's own."""
    canary, stable = recent.canary, recent.stable
    if canary.num_refused == 0:
        return 0.0
    levels = advance_levels(policy)
    lower = lower_bound(canary.num_refused, canary.num_requests + canary.num_refused, alpha=levels.canary)
    upper = upper_bound(stable.num_refused, stable.num_requests + stable.num_refused, alpha=levels.stable)
    return round(float(lower - upper), DIGITS)


def bad_and_num(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Canary's and stable's errors, then slow requests, then very slow ones; and what they are out of."""
    arms = (window.canary, window.stable)
    bad = [getattr(arm, name) for name in ("num_errors", "num_slow", "num_very_slow") for arm in arms]
    num = [getattr(arm, name) for name in ("num_requests", "num_timed", "num_timed") for arm in arms]
    return np.array(bad, dtype=float), np.array(num, dtype=float)


def _beside_canary(progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """As `bad_and_num` of everything, with stable weighted as the canary is over phases and steps."""
    bad_SM, num_SM = (np.array(each) for each in zip(*map(bad_and_num, progress.strata), strict=True))
    stable_bad, stable_num = beside(num_SM[:, ::2].T, bad_SM[:, 1::2].T, num_SM[:, 1::2].T)
    bad, num = bad_SM.sum(axis=0), num_SM.sum(axis=0)
    bad[1::2], num[1::2] = stable_bad, stable_num
    return bad, num


def _fast_error(progress: Progress, policy: RolloutPolicy) -> TestValue:
    log_e = failure_log_e(np.array(progress.error_wealth), np.array(progress.very_slow_wealth))
    return TestValue(name="errors, fast", log_e=round(float(log_e), DIGITS), limit=withdraw_limit("errors", policy))


def _measure_harms(progress: Progress, policy: RolloutPolicy) -> tuple[Harm, Harm, Harm]:
    bad, num = bad_and_num(progress.total)
    beside_bad, beside_num = _beside_canary(progress)
    recent_bad, recent_num = bad_and_num(progress.recent)
    levels = np.array([*advance_levels(policy)] * 3)
    # Very slow requests are slow: gross harm in them is gross harm in those, and has no alpha of its own.
    gross = np.array([gross_alpha(metric, policy) for metric in ("errors", "slow", "slow")]) * GROSS_SHARE
    # One call for all metrics, both arms and both spans: most of its time is per call.
    lower = lower_bound(
        np.append(beside_bad, recent_bad[::2]), np.append(beside_num, recent_num[::2]), alpha=np.append(levels, gross)
    )
    upper = upper_bound(
        np.append(beside_bad, recent_bad[1::2]), np.append(beside_num, recent_num[1::2]), alpha=np.append(levels, gross)
    )
    intervals = [
        Interval(
            num_bad=int(bad[i]),
            num=int(num[i]),
            lower=round(float(lower[i]), DIGITS),
            upper=round(float(upper[i]), DIGITS),
        )
        for i in range(6)
    ]
    harms = (
        (ERRORS, policy.error_margin, policy.error_gross),
        (SLOW, policy.slow_margin, policy.slow_gross),
        (VERY_SLOW, policy.error_margin, policy.slow_gross),
    )
    error, slow, very_slow = (
        Harm(
            metric=metric,
            canary=intervals[2 * i],
            stable=intervals[2 * i + 1],
            margin=margin,
            gross=round(float(lower[6 + i] - upper[6 + i]), DIGITS),
            gross_limit=gross_limit,
        )
        for i, (metric, margin, gross_limit) in enumerate(harms)
    )
    return error, slow, very_slow


def _test(name: str, log_wealth: tuple[float, ...], limit: float) -> TestValue:
    return TestValue(name=name, log_e=total_of(log_wealth), limit=limit)
