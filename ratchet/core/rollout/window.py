"""What both revisions did between two looks: differences of counters that only grow."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.errors import PolicyError
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.policy import RolloutPolicy

NUM_SCORE_BINS = 10
"""Of the top-class probability, 0.1 each: how often a revision was how sure."""


class ArmWindow(BaseModel):
    """Requests of one revision in one window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_requests: int = Field(0, ge=0)
    """Answered, or failed by the revision. Those that the client caused to be refused (4xx) are not among them."""
    num_errors: int = Field(0, ge=0)
    num_refused: int = Field(0, ge=0)
    num_timed: int = Field(0, ge=0)
    """Requests whose latency is known: histograms may lag behind counters."""
    num_slow: int = Field(0, ge=0)
    """Of these, over the slow limit."""
    num_late: int = Field(0, ge=0)
    """Of these, over the late limit, which is at or under the slow one."""
    num_very_slow: int = Field(0, ge=0)
    """Of the slow ones, over the very slow limit: as good as failed."""

    def __add__(self, other: "ArmWindow") -> "ArmWindow":
        return ArmWindow(
            num_requests=self.num_requests + other.num_requests,
            num_errors=self.num_errors + other.num_errors,
            num_refused=self.num_refused + other.num_refused,
            num_timed=self.num_timed + other.num_timed,
            num_slow=self.num_slow + other.num_slow,
            num_late=self.num_late + other.num_late,
            num_very_slow=self.num_very_slow + other.num_very_slow,
        )

    def __sub__(self, other: "ArmWindow") -> "ArmWindow":
        return ArmWindow(**{name: getattr(self, name) - getattr(other, name) for name in ArmWindow.model_fields})

    def without_latency(self) -> "ArmWindow":
        return ArmWindow(num_requests=self.num_requests, num_errors=self.num_errors, num_refused=self.num_refused)


class LatencyLimits(NamedTuple):
    """Over which latencies, in ms, a request is slow, late, and very slow. Fixed once, before what they judge."""

    slow_ms: float
    late_ms: float
    very_slow_ms: float | None = None
    """None: none is counted."""


class Window(BaseModel):
    """Both arms over the same time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: ArmWindow = ArmWindow()
    canary: ArmWindow = ArmWindow()

    def __add__(self, other: "Window") -> "Window":
        return Window(stable=self.stable + other.stable, canary=self.canary + other.canary)


class QualityWindow(BaseModel):
    """What both revisions answered to the same requests, as far as it became known since the last look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_compared: int = Field(0, ge=0)
    """Requests that both answered."""
    num_agreed: int = Field(0, ge=0)
    stable_scores: tuple[int, ...] = ()
    """Requests by top-class probability in 10 equal bins; empty when there are no probabilities."""
    canary_scores: tuple[int, ...] = ()
    stable_right: int = Field(0, ge=0)
    stable_known: int = Field(0, ge=0)
    """Answers whose true label has arrived."""
    canary_right: int = Field(0, ge=0)
    canary_known: int = Field(0, ge=0)

    def __add__(self, other: "QualityWindow") -> "QualityWindow":
        names = ("num_compared", "num_agreed", "stable_right", "stable_known", "canary_right", "canary_known")
        return QualityWindow(
            **{name: getattr(self, name) + getattr(other, name) for name in names},
            stable_scores=_sum_of_bins(self.stable_scores, other.stable_scores),
            canary_scores=_sum_of_bins(self.canary_scores, other.canary_scores),
        )


def _sum_of_bins(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if not first or not second:
        return first or second
    return tuple(a + b for a, b in zip(first, second, strict=True))


def arm_window_of(before: RevisionCounts, after: RevisionCounts, *, limits: LatencyLimits | None) -> ArmWindow:
    """Requests between two readings of a revision's counters, which never fall (`ports.TrafficStats`)."""
    num_refused = after.num_refused - before.num_refused
    num_counted = max(after.num_requests - before.num_requests - num_refused, 0)
    timed = {bound: num - before.num_by_latency_ms.get(bound, 0) for bound, num in after.num_by_latency_ms.items()}
    return ArmWindow(
        num_requests=num_counted,
        # Two counters are not read at one instant: an error may show before its request does.
        num_errors=min(after.num_errors - before.num_errors, num_counted),
        num_refused=num_refused,
        **({} if limits is None or not timed else _latencies_of(timed, limits)),
    )


def _latencies_of(timed: Mapping[float, int], limits: LatencyLimits) -> dict[str, int]:
    num_timed, very_slow_ms = max(timed.values()), limits.very_slow_ms
    return {
        "num_timed": num_timed,
        "num_slow": num_timed - timed[bucket_at(timed, limits.slow_ms)],
        "num_late": num_timed - timed[bucket_at(timed, limits.late_ms)],
        "num_very_slow": 0 if very_slow_ms is None else num_timed - timed[bucket_at(timed, very_slow_ms)],
    }


def latency_limits_of(baseline: RevisionCounts, policy: RolloutPolicy) -> LatencyLimits | None:
    """Which latencies are slow, late and very slow; None while stable has answered too few to say.

    Fixed once, before the requests that they judge: a limit that moved with the data would void the tests.
    """
    floor_ms, factor = policy.latency_limit_ms or 0.0, policy.latency_limit_factor
    is_absolute = factor is None and policy.latency_very_slow_factor is None
    if not is_absolute and _num_timed(baseline) < policy.latency_baseline_requests:
        return None
    slow_ms = late_ms = floor_ms
    if factor is not None:
        slow_ms, late_ms = (
            _limit_of(baseline, factor, quantile, floor_ms=floor_ms)
            for quantile in (policy.latency_limit_quantile, policy.latency_late_quantile)
        )
    return LatencyLimits(
        slow_ms=slow_ms, late_ms=min(late_ms, slow_ms), very_slow_ms=_very_slow_ms(baseline, policy, slow_ms=slow_ms)
    )


def _very_slow_ms(baseline: RevisionCounts, policy: RolloutPolicy, *, slow_ms: float) -> float | None:
    """None where the histogram cannot tell very slow requests from slow ones."""
    if policy.latency_very_slow_factor is None:
        return None
    factor, quantile = policy.latency_very_slow_factor, policy.latency_late_quantile
    limit_ms = _limit_of(baseline, factor, quantile, floor_ms=policy.latency_very_slow_ms)
    return limit_ms if limit_ms > bucket_at(baseline.num_by_latency_ms, slow_ms) else None


def _limit_of(baseline: RevisionCounts, factor: float, quantile: float, *, floor_ms: float) -> float:
    """A bound of the histogram near so many times one of its quantiles, and not under the floor."""
    latency_ms = max(floor_ms, factor * quantile_of(baseline.num_by_latency_ms, quantile))
    return _nearest_bound(baseline.num_by_latency_ms, latency_ms, floor_ms=floor_ms)


def quantile_of(num_by_latency_ms: Mapping[float, int], quantile: float) -> float:
    """The quantile, in ms: latencies are spread evenly on a log scale inside a bucket.

    The largest finite bound when it lies beyond.
    """
    finite = _finite_bounds(num_by_latency_ms)
    needed = quantile * max(num_by_latency_ms.values())
    # No log scale begins at 0, as the first bucket does: half of its bound stands for it.
    lower_ms, num_lower = finite[0] / 2, 0
    for bound in finite:
        number = num_by_latency_ms[bound]
        if number >= needed:
            share = (needed - num_lower) / max(number - num_lower, 1)
            return float(lower_ms * (bound / lower_ms) ** share) if lower_ms > 0 else bound
        lower_ms, num_lower = bound, number
    return finite[-1]


def _nearest_bound(num_by_latency_ms: Mapping[float, int], latency_ms: float, *, floor_ms: float) -> float:
    """The bucket bound nearest to a latency on a log scale, at the floor or over it: between bounds nothing is seen.

    With buckets as far apart as 100 and 250 ms, the next bound above could be 2.5 times too high to see any harm.
    """
    finite = _finite_bounds(num_by_latency_ms)
    # A bound of 0 has no logarithm.
    allowed = [bound for bound in finite if bound >= max(floor_ms, 1e-9)] or [finite[-1]]
    return min(allowed, key=lambda bound: (abs(math.log(bound / latency_ms)) if latency_ms > 0 else bound, bound))


def bucket_at(num_by_latency_ms: Mapping[float, int], latency_limit_ms: float) -> float:
    """The smallest bucket bound at or over the limit: the histogram cannot see between two bounds.

    A limit over every finite bucket takes the largest: with none at all nothing could ever be slow, so that raises.
    """
    finite = _finite_bounds(num_by_latency_ms)
    return next((bound for bound in finite if bound >= latency_limit_ms), finite[-1])


def _finite_bounds(num_by_latency_ms: Mapping[float, int]) -> list[float]:
    finite = sorted(bound for bound in num_by_latency_ms if math.isfinite(bound))
    if not finite:
        raise PolicyError(
            "The gateway's latency histogram has no finite bucket, so no request could ever be called slow. "
            "Give it buckets (Envoy: stats_config.histogram_bucket_settings)."
        )
    return finite


def _num_timed(counts: RevisionCounts) -> int:
    return max(counts.num_by_latency_ms.values(), default=0)
