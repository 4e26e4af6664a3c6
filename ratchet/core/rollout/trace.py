"""The judge over a recorded trace of plain requests: the same windows, the same decisions. Pure and deterministic.

One JSON line a request: `{"t": seconds, "revision": "stable"|"canary", "status": int, "latency_ms": float}`.
"""

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.fields import parse_fields
from ratchet.core.lines import read_objects, split_lines
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.history import History, JudgedLook, judge_look, policy_digest_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Look, Progress, begin
from ratchet.core.rollout.waiting import deadline_of
from ratchet.core.rollout.window import ArmWindow, LatencyLimits, Window, latency_limits_of
from ratchet.core.verdict import Verdict

_FIRST_CLIENT_ERROR, _FIRST_SERVER_ERROR = 400, 500
_T_S_MAX = 1e12
"""30,000 years: beyond the largest float no look has a number."""
_EXPECTED = {
    "t": "a number of seconds from 0 to 1e12",
    "revision": '"stable" or "canary"',
    "status": "a whole number from 100 to 599",
    "latency_ms": "a number of milliseconds from 0",
}
_NEXT_STEP = (
    'Expected {"t": seconds, "revision": "stable"|"canary", "status": int, "latency_ms": float}; correct the line.'
)


class TracedRequest(BaseModel):
    """One answered request; fields that are not named here are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    t: float = Field(ge=0, le=_T_S_MAX)
    """Seconds since any origin."""
    revision: Literal["stable", "canary"]
    status: int = Field(ge=100, le=599)
    latency_ms: float = Field(ge=0)

    @property
    def is_refused(self) -> bool:
        """The client's fault, so no evidence."""
        return _FIRST_CLIENT_ERROR <= self.status < _FIRST_SERVER_ERROR

    @property
    def is_error(self) -> bool:
        return self.status >= _FIRST_SERVER_ERROR


def parse_trace(data: bytes | str, *, where: str) -> tuple[TracedRequest, ...]:
    """The requests of a trace in order of time; DataRejected names the first line that is wrong."""
    requests = [
        parse_fields(TracedRequest, value, expected=_EXPECTED, where=place, next_step=_NEXT_STEP)
        for place, value in read_objects(split_lines(data), where=where, next_step=_NEXT_STEP)
    ]
    return tuple(sorted(requests, key=lambda request: request.t))


def replay(requests: Sequence[TracedRequest], policy: RolloutPolicy) -> tuple[Verdict, History]:
    """Judge a trace as the controller would have, look by look, until a verdict or the trace's end.

    A plain trace does not say the weight at which it was taken, nor what was mirrored: the judge walks the policy's
    live steps over it, and the canary's requests after a withdrawal count as mirrored ones.
    """
    progress, judged = begin(policy.model_copy(update={"dark_requests": 0})), list[JudgedLook]()
    limits = None
    for look, limits in _looks(requests, policy):
        for due in (*_overdue(progress, look, policy), look):
            progress, latest = judge_look(progress, due, policy)
            judged.append(latest)
            if progress.outcome:
                return _verdict_of(progress, judged, requests, policy), History(looks=tuple(judged), limits=limits)
    if not judged:
        progress, latest = judge_look(progress, Look(at_s=0, window=Window()), policy)
        judged.append(latest)
    return _verdict_of(progress, judged, requests, policy), History(looks=tuple(judged), limits=limits)


def _looks(requests: Sequence[TracedRequest], policy: RolloutPolicy) -> Iterator[tuple[Look, LatencyLimits | None]]:
    """One look after every interval that holds requests, and the latency limits that it used."""
    baseline: list[float] = []
    limits = latency_limits_of(RevisionCounts(), policy)
    origin_s = requests[0].t if requests else 0.0

    def interval_of(request: TracedRequest) -> int:
        return math.floor((request.t - origin_s) / policy.look_interval_s)

    for interval, group in groupby(requests, key=interval_of):
        members = tuple(group)
        window = Window(stable=_arm(members, "stable", limits), canary=_arm(members, "canary", limits))
        yield Look(at_s=(interval + 1) * policy.look_interval_s, window=window, is_routed=False), limits
        if limits is None:
            stable = (request for request in members if request.revision == "stable" and not request.is_refused)
            baseline += (request.latency_ms for request in stable)
            limits = latency_limits_of(_histogram(baseline), policy)


def _overdue(progress: Progress, look: Look, policy: RolloutPolicy) -> Iterable[Look]:
    """The look at which holding ended, when it fell into an interval without a request."""
    deadline_s = deadline_of(progress, policy)
    return (Look(at_s=deadline_s, window=Window(), is_routed=False),) if progress.now_s < deadline_s < look.at_s else ()


def _verdict_of(
    progress: Progress, judged: Sequence[JudgedLook], requests: Sequence[TracedRequest], policy: RolloutPolicy
) -> Verdict:
    last = judged[-1]
    withdrawn = [one.look.at_s for one in judged if one.decision.action is Action.WITHDRAW]
    is_open = "withdrawn" if progress.phase == "withdrawn" else "inconclusive"
    return Verdict(
        kind="rollout",
        verdict=progress.outcome or is_open,
        reasons=last.decision.reasons,
        inputs={
            "policy_digest": policy_digest_of(policy),
            "num_requests": {
                name: sum(request.revision == name for request in requests) for name in ("stable", "canary")
            },
            "num_looks": len(judged),
            "decided_at_s": round(last.look.at_s, 6),
            "withdrawn_at_s": [round(at_s, 6) for at_s in withdrawn],
            "weight_pct": last.weight_pct,
        },
    )


def _arm(requests: Iterable[TracedRequest], revision: str, limits: LatencyLimits | None) -> ArmWindow:
    own = [request for request in requests if request.revision == revision]
    answered = [request for request in own if not request.is_refused]
    return ArmWindow(
        num_requests=len(answered),
        num_errors=sum(request.is_error for request in answered),
        num_refused=len(own) - len(answered),
        num_timed=0 if limits is None else len(answered),
        num_slow=_num_over(answered, limits and limits.slow_ms),
        num_late=_num_over(answered, limits and limits.late_ms),
        num_very_slow=_num_over(answered, limits and limits.very_slow_ms),
    )


def _num_over(requests: Iterable[TracedRequest], limit_ms: float | None) -> int:
    return 0 if limit_ms is None else sum(request.latency_ms > limit_ms for request in requests)


def _histogram(latencies_ms: Sequence[float]) -> RevisionCounts:
    """Raw latencies as the cumulative histogram that a gateway would show, with a bucket for each."""
    ordered = sorted(latencies_ms)
    buckets = {bound: bisect.bisect_right(ordered, bound) for bound in ordered}
    return RevisionCounts(num_requests=len(ordered), num_by_latency_ms={**buckets, math.inf: len(ordered)})
