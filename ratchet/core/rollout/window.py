"""What both revisions did between two looks: differences of counters that only grow."""

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.errors import PolicyError
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.policy import RolloutPolicy


class ArmWindow(BaseModel):
    """Requests of one revision in one window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_requests: int = Field(0, ge=0)
    num_errors: int = Field(0, ge=0)
    num_timed: int = Field(0, ge=0)
    """Requests whose latency is known: histograms may lag behind counters."""
    num_slow: int = Field(0, ge=0)

    def __add__(self, other: "ArmWindow") -> "ArmWindow":
        return ArmWindow(
            num_requests=self.num_requests + other.num_requests,
            num_errors=self.num_errors + other.num_errors,
            num_timed=self.num_timed + other.num_timed,
            num_slow=self.num_slow + other.num_slow,
        )

    def without_latency(self) -> "ArmWindow":
        return ArmWindow(num_requests=self.num_requests, num_errors=self.num_errors)


class Window(BaseModel):
    """Both arms over the same time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: ArmWindow = ArmWindow()
    canary: ArmWindow = ArmWindow()

    def __add__(self, other: "Window") -> "Window":
        return Window(stable=self.stable + other.stable, canary=self.canary + other.canary)


def arm_window_of(before: RevisionCounts, after: RevisionCounts, *, latency_limit_ms: float | None) -> ArmWindow:
    """Requests between two readings of a revision's counters.

    Counters that fell start again at 0 (the gateway restarted, the revision moved to another port): then `after` alone
    is what we know of them, and what came between the first reading and the restart is lost, never counted twice.
    Counts and latencies fall apart from each other: Envoy clears a histogram whenever the routed revisions change.
    """
    is_new = after.num_requests < before.num_requests or after.num_errors < before.num_errors
    num_requests = after.num_requests - (0 if is_new else before.num_requests)
    num_errors = after.num_errors - (0 if is_new else before.num_errors)
    num_timed, num_slow = _timed_and_slow(before.num_by_latency_ms, after.num_by_latency_ms, latency_limit_ms)
    return ArmWindow(
        num_requests=num_requests,
        # Two counters are not read at one instant: an error may show before its request does.
        num_errors=min(num_errors, num_requests),
        num_timed=num_timed,
        num_slow=num_slow,
    )


def _timed_and_slow(
    before: Mapping[float, int], after: Mapping[float, int], latency_limit_ms: float | None
) -> tuple[int, int]:
    """How many latencies came between two histograms, and how many of them are over the limit."""
    if latency_limit_ms is None or not after:
        return 0, 0
    bound = bucket_at(after, latency_limit_ms)
    if any(after.get(each, 0) < number for each, number in before.items()):
        before = {}
    num_timed = max(after.values()) - max(before.values(), default=0)
    return num_timed, num_timed - (after[bound] - before.get(bound, 0))


def latency_limit_of(baseline: RevisionCounts, policy: RolloutPolicy) -> float | None:
    """Over which latency, in ms, a request is slow; None while stable has answered too few to say.

    It is fixed once, before the requests that it judges: a limit that moved with the data would void the bounds.
    """
    if policy.latency_limit_factor is None:
        return policy.latency_limit_ms
    if _num_timed(baseline) < policy.latency_baseline_requests:
        return None
    quantile_ms = quantile_of(baseline.num_by_latency_ms, policy.latency_limit_quantile)
    return max(policy.latency_limit_ms or 0.0, policy.latency_limit_factor * quantile_ms)


def quantile_of(num_by_latency_ms: Mapping[float, int], quantile: float) -> float:
    """The upper bound, in ms, of the bucket that holds the quantile; the largest finite one for the last bucket."""
    finite = _finite_bounds(num_by_latency_ms)
    needed = quantile * max(num_by_latency_ms.values())
    return next((bound for bound in finite if num_by_latency_ms[bound] >= needed), finite[-1])


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
