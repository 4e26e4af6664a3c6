"""One look at a canary: remember the window, measure the harm, decide what to do next and say why. Pure.

The order of a decision is the order of harm: a canary that fails altogether, then one that is proven worse, then one
that is proven good enough; then waiting, which ends. No traffic and no numbers never promote and never condemn.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.sequential import bound_harm
from ratchet.core.rollout.window import ArmWindow, Window
from ratchet.core.verdict import Reason


class Action(StrEnum):
    """What the controller does next."""

    ADVANCE = "advance"
    HOLD = "hold"
    """Stay at this weight: too little evidence either way."""
    BLIND = "blind"
    """Stay: the traffic numbers do not come. Neither the canary's fault nor proof of anything."""
    ROLL_BACK = "roll_back"
    INCONCLUSIVE = "inconclusive"
    """The time for holding, or for being blind, is over."""


class Look(BaseModel):
    """What one look saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float = Field(ge=0)
    """Seconds since the rollout began."""
    window: Window | None
    """None when the traffic numbers could not be had."""
    is_canary_ready: bool = True


class Progress(BaseModel):
    """All that the judge remembers from look to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(0, ge=0)
    """Index into the policy's judged steps."""
    step_began_s: float = 0.0
    now_s: float = 0.0
    total: Window = Window()
    """Everything since the canary's first request: evidence goes on counting from step to step."""
    num_canary_at_step: int = 0
    num_errors_in_a_row: int = 0
    """Canary errors since its last success, as far as windows can tell."""
    unready_since_s: float | None = None
    blind_since_s: float | None = None


class Decision(BaseModel):
    """What to do and why; every reason holds both numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    reasons: tuple[Reason, ...] = Field(min_length=1)

    @property
    def text(self) -> str:
        """One line: the checks that did not hold, or all of them when every one did."""
        return "; ".join(reason.text for reason in self.reasons if not reason.passed) or "; ".join(
            reason.text for reason in self.reasons
        )


class Interval(BaseModel):
    """A ratio (0..1) as counted and the range that the counts leave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bad: int
    num: int
    lower: float
    upper: float


class Harm(BaseModel):
    """One metric of both arms: errors, or slow requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    canary: Interval
    stable: Interval
    margin: float
    tolerance: float

    @property
    def lower(self) -> float:
        """Canary minus stable, at least."""
        return self.canary.lower - self.stable.upper

    @property
    def upper(self) -> float:
        """Canary minus stable, at most."""
        return self.canary.upper - self.stable.lower


class Evidence(BaseModel):
    """What the counts so far prove."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: Harm
    slow: Harm


def observe(progress: Progress, look: Look, policy: RolloutPolicy) -> Progress:
    """The memory after one more look."""
    unready = None if look.is_canary_ready else _first(progress.unready_since_s, look.at_s)
    if look.window is None:
        blind = _first(progress.blind_since_s, look.at_s)
        return progress.model_copy(
            update={"now_s": look.at_s, "unready_since_s": unready, "blind_since_s": blind},
        )
    is_warm = progress.total.canary.num_requests >= policy.warm_up_requests
    counted = look.window if is_warm else _without_latency(look.window)
    return progress.model_copy(
        update={
            "now_s": look.at_s,
            "total": progress.total + counted,
            "num_canary_at_step": progress.num_canary_at_step + look.window.canary.num_requests,
            "num_errors_in_a_row": _errors_in_a_row(progress.num_errors_in_a_row, look.window),
            "unready_since_s": unready,
            "blind_since_s": None,
        }
    )


def next_step(progress: Progress, *, at_s: float) -> Progress:
    """The memory when the next step's weight has been set; the evidence stays."""
    return progress.model_copy(update={"step": progress.step + 1, "step_began_s": at_s, "num_canary_at_step": 0})


def measure(progress: Progress, policy: RolloutPolicy) -> Evidence:
    """Bounds on both harms from everything seen so far."""
    stable, canary = progress.total.stable, progress.total.canary
    errors = _bound(_errors(canary), _errors(stable), alpha=policy.alpha)
    slow = _bound(_slow(canary), _slow(stable), alpha=policy.alpha)
    return Evidence(
        error=Harm(metric="errors", **errors, margin=policy.error_margin, tolerance=policy.error_tolerance),
        slow=Harm(metric="slow requests", **slow, margin=policy.slow_margin, tolerance=policy.slow_tolerance),
    )


def decide(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> Decision:
    """The next action at this step. The caller moves the traffic, and calls `next_step` after an advance."""
    broken = tuple(reason for reason in _tripwires(progress, policy) if not reason.passed)
    if broken:
        return Decision(action=Action.ROLL_BACK, reasons=broken)
    if progress.blind_since_s is not None:
        return _decide_blind(progress, policy)
    harmful = _harmful(evidence, policy)
    if harmful:
        return Decision(action=Action.ROLL_BACK, reasons=harmful)
    reasons = (_harmless(evidence.error), _harmless(evidence.slow), *_traffic(progress, policy))
    if all(reason.passed for reason in reasons):
        return Decision(action=Action.ADVANCE, reasons=reasons)
    held = _held(progress, policy)
    return Decision(action=Action.HOLD if held.passed else Action.INCONCLUSIVE, reasons=(*reasons, held))


def _tripwires(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, ...]:
    unready_s = 0.0 if progress.unready_since_s is None else progress.now_s - progress.unready_since_s
    errors = progress.num_errors_in_a_row
    return (
        Reason(
            check="errors_in_a_row",
            value=errors,
            limit=policy.tripwire_errors,
            passed=errors < policy.tripwire_errors,
            text=f"the canary's last {errors} requests all failed; limit {policy.tripwire_errors}",
        ),
        Reason(
            check="ready",
            value=round(unready_s, 3),
            limit=policy.not_ready_s_max,
            passed=unready_s < policy.not_ready_s_max,
            text=f"the canary has not been ready for {unready_s:.1f} s; limit {policy.not_ready_s_max:g} s",
        ),
    )


def _decide_blind(progress: Progress, policy: RolloutPolicy) -> Decision:
    assert progress.blind_since_s is not None
    blind_s = progress.now_s - progress.blind_since_s
    is_over = blind_s >= policy.blind_s_max
    reason = Reason(
        check="traffic_numbers",
        value=round(blind_s, 3),
        limit=policy.blind_s_max,
        passed=False,
        text=f"no traffic numbers for {blind_s:.1f} s; limit {policy.blind_s_max:g} s",
    )
    return Decision(action=Action.INCONCLUSIVE if is_over else Action.BLIND, reasons=(reason,))


def _harmful(evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """The metrics on which the canary is proven worse than the policy tolerates."""
    return tuple(
        Reason(
            check=f"harm_{harm.metric.partition(' ')[0]}",
            value=round(harm.lower, 6),
            limit=harm.tolerance,
            passed=False,
            text=f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}; "
            f"at least {harm.lower:.2%} more, tolerance {harm.tolerance:.2%}",
        )
        for harm in (evidence.error, evidence.slow)
        if harm.lower > harm.tolerance and harm.canary.num_bad >= policy.min_bad_requests
    )


def _harmless(harm: Harm) -> Reason:
    return Reason(
        check=f"harm_{harm.metric.partition(' ')[0]}",
        value=round(harm.upper, 6),
        limit=harm.margin,
        passed=harm.upper < harm.margin,
        text=f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}; "
        f"at most {harm.upper:.2%} more, margin {harm.margin:.2%}",
    )


def _traffic(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, Reason]:
    weight_pct = policy.judged_steps[progress.step]
    num_canary, num_stable = progress.num_canary_at_step, progress.total.stable.num_requests
    return (
        Reason(
            check="canary_requests",
            value=num_canary,
            limit=policy.min_requests,
            passed=num_canary >= policy.min_requests,
            text=f"{num_canary} canary requests at {weight_pct} %, at least {policy.min_requests} needed",
        ),
        Reason(
            check="stable_requests",
            value=num_stable,
            limit=policy.min_requests,
            passed=num_stable >= policy.min_requests,
            text=f"{num_stable} stable requests to compare with, at least {policy.min_requests} needed",
        ),
    )


def _held(progress: Progress, policy: RolloutPolicy) -> Reason:
    held_s = progress.now_s - progress.step_began_s
    weight_pct = policy.judged_steps[progress.step]
    return Reason(
        check="held",
        value=round(held_s, 3),
        limit=policy.hold_s_max,
        passed=held_s < policy.hold_s_max,
        text=f"{held_s:.1f} s at {weight_pct} %, limit {policy.hold_s_max:g} s",
    )


def _errors_in_a_row(so_far: int, window: Window) -> int:
    """Failures since the last success. While stable fails altogether too, the canary is not to blame: no change."""
    canary, stable = window.canary, window.stable
    if canary.num_requests == 0 or (stable.num_requests and stable.num_errors == stable.num_requests):
        return so_far
    return so_far + canary.num_errors if canary.num_errors == canary.num_requests else 0


def _bound(canary: tuple[int, int], stable: tuple[int, int], *, alpha: float) -> dict[str, Interval]:
    """Both arms' intervals of one metric, from the bad requests and the requests of each."""
    bounds = bound_harm(
        num_bad_canary=canary[0], num_canary=canary[1], num_bad_stable=stable[0], num_stable=stable[1], alpha=alpha
    )
    return {
        "canary": _interval(canary, lower=float(bounds.canary_lower), upper=float(bounds.canary_upper)),
        "stable": _interval(stable, lower=float(bounds.stable_lower), upper=float(bounds.stable_upper)),
    }


def _interval(counts: tuple[int, int], *, lower: float, upper: float) -> Interval:
    return Interval(num_bad=counts[0], num=counts[1], lower=lower, upper=upper)


def _errors(arm: ArmWindow) -> tuple[int, int]:
    return arm.num_errors, arm.num_requests


def _slow(arm: ArmWindow) -> tuple[int, int]:
    return arm.num_slow, arm.num_timed


def _without_latency(window: Window) -> Window:
    return Window(stable=window.stable.without_latency(), canary=window.canary.without_latency())


def _counted(interval: Interval) -> str:
    return f"{interval.num_bad} of {interval.num}"


def _first(known: float | None, now: float) -> float:
    return now if known is None else known
