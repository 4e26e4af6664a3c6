"""What the judge sees, remembers (`Progress`) and says. Pure: `observe` gives the memory after one more look."""

from enum import StrEnum
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.rollout.betting import log_gain_over
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.quality_evidence import QualityEvidence
from ratchet.core.rollout.wealth import (
    ERROR_START,
    LATENCY_START,
    ROW_START,
    VERY_SLOW_START,
    Votes,
    as_batch,
    as_tuple,
    counts_of,
    error_wealth_after,
    has_bet,
    latency_wealth_after,
    row_wealth_after,
    totals_of,
    very_slow_wealth_after,
    wealth_of,
)
from ratchet.core.rollout.window import QualityWindow, Window
from ratchet.core.verdict import Reason

Phase = Literal["dark", "live", "withdrawn"]
JUDGE_VERSION = 2
"""Counts up when the same looks may lead to other numbers than before; each record says which one judged it."""
UNDER_WAY_S = 2.0
"""After the traffic moved, requests routed the old way are still on their way: their share proves nothing."""
SHARE_ODDS = np.array([0.2, 0.5, 2.0, 5.0])
SHARE_START = (float(-np.log(len(SHARE_ODDS))),) * len(SHARE_ODDS)


class Action(StrEnum):
    """What the controller does next."""

    ADVANCE = "advance"
    HOLD = "hold"
    """Stay at this weight: too little evidence either way, or a person is waited for."""
    BLIND = "blind"
    """Stay: the traffic numbers do not come. Neither the canary's fault nor proof of anything."""
    WITHDRAW = "withdraw"
    """Live traffic to 0 at once; evidence goes on over mirrored requests."""
    RETURN = "return"
    """Withdrawn, then cleared: live again at the step's weight."""
    ROLL_BACK = "roll_back"
    """Condemned: proven to be worse."""
    INCONCLUSIVE = "inconclusive"
    """The time for holding, for being withdrawn, blind, or for a person, is over."""
    NO_TRAFFIC = "no_traffic"
    """Nobody asks either revision: no evidence can come, so waiting for it ends."""


class Orders(BaseModel):
    """What people have asked for so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_paused: bool = False
    approved_pct: int = Field(0, ge=0, le=100)
    """The greatest weight that a person has approved."""
    num_approvals: int = Field(0, ge=0)
    abort_reason: str = ""


class Look(BaseModel):
    """What one look saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float = Field(ge=0)
    """Seconds since the rollout began."""
    window: Window | None
    """None when the traffic numbers could not be had."""
    is_canary_ready: bool = True
    is_routed: bool = True
    """Whether the weight asked for is known to have been in force; else the share of the requests proves nothing."""
    quality: QualityWindow | None = None
    """None when nothing new is known."""
    orders: Orders = Orders()


class Progress(BaseModel):
    """All that the judge remembers from look to look; `begin` makes the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: Phase = "live"
    outcome: Literal["", "promoted", "rolled_back", "inconclusive", "no_traffic"] = ""
    """Not empty once the rollout is over."""
    weight_pct: int = 0
    """The share of live traffic that must be routed to the canary now; after the end: 100 when promoted, else 0."""
    is_mirrored: bool = False
    """Whether stable's requests must be mirrored to the canary now."""
    step: int = Field(0, ge=0)
    """Index into the policy's judged steps."""
    step_began_s: float = 0.0
    """When this phase and step began; later by as long as people were waited for."""
    now_s: float = 0.0
    silent_since_s: float = 0.0
    """Since when neither revision has had a request, as far as is known; the step's beginning at the earliest."""
    total: Window = Window()
    """Everything since the beginning, or since the withdrawal: it goes on counting from step to step."""
    recent: Window = Window()
    """Everything in this phase and step."""
    earlier: tuple[Window, ...] = ()
    """What `total` holds of earlier phases and steps, one window each: they split the traffic differently."""
    unbet: Window = Window()
    """What came since the fast test bet last."""
    bet_at_s: float = 0.0
    num_canary: int = 0
    """Requests that the canary has answered."""
    num_returns: int = 0
    num_errors_in_a_row: int = 0
    """Canary errors since its last success, as far as windows can tell."""
    unready_since_s: float | None = None
    blind_since_s: float | None = None
    asking_since_s: float | None = None
    """Since when the canary waits for a person."""
    approved_when_asked_pct: int | None = None
    """What was approved when the time was over and a person was asked: only an approval since then answers."""
    num_approvals_when_asked: int = 0
    orders: Orders = Orders()
    error_wealth: tuple[float, ...] = tuple(ERROR_START.tolist())
    """Log wealth of the fast test, bet by bet; the last is cash."""
    latency_wealth: tuple[float, ...] = tuple(LATENCY_START.tolist())
    very_slow_wealth: tuple[float, ...] = tuple(VERY_SLOW_START.tolist())
    """Its bets on very slow requests."""
    row_wealth: tuple[float, ...] = tuple(ROW_START.tolist())
    """Log wealth of the bet that the canary fails altogether while stable answers."""
    share_wealth: tuple[float, ...] = SHARE_START
    error_votes: Votes = Votes()
    slow_votes: Votes = Votes()
    very_slow_votes: Votes = Votes()
    quality: QualityEvidence = QualityEvidence()

    @property
    def strata(self) -> tuple[Window, ...]:
        """`total` by phase and step, the present one last."""
        before = Window(stable=self.total.stable - self.recent.stable, canary=self.total.canary - self.recent.canary)
        return (*(self.earlier or (before,)), self.recent)  # a memory from before they were kept apart has none


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


def begin(policy: RolloutPolicy) -> Progress:
    """Before the first look: dark when the policy wants it, else live at the first step."""
    if policy.dark_requests:
        return Progress(phase="dark", is_mirrored=True)
    return Progress(weight_pct=policy.judged_steps[0])


def observe(progress: Progress, look: Look, policy: RolloutPolicy) -> Progress:
    """The memory after one more look."""
    seen = progress.model_copy(
        update={
            "now_s": look.at_s,
            "orders": look.orders,
            "unready_since_s": None if look.is_canary_ready else _first(progress.unready_since_s, look.at_s),
        }
    )
    if look.quality is not None:
        seen = seen.model_copy(update={"quality": progress.quality.after(look.quality, policy)})
    if look.window is None:
        blind_since_s = _first(progress.blind_since_s, look.at_s)
        return seen.model_copy(update={"blind_since_s": blind_since_s, "silent_since_s": look.at_s})
    is_warm = progress.num_canary >= policy.warm_up_requests
    window = look.window if is_warm else _without_latency(look.window)
    return _with_window(seen, window, policy, is_routed=look.is_routed)


def _with_window(progress: Progress, window: Window, policy: RolloutPolicy, *, is_routed: bool) -> Progress:
    bet = _bet(progress, progress.unbet + window, policy)
    return progress.model_copy(
        update=bet
        | {
            "total": progress.total + window,
            "recent": progress.recent + window,
            "silent_since_s": progress.now_s if _has_requests(window) else progress.silent_since_s,
            "num_canary": progress.num_canary + window.canary.num_requests,
            "num_errors_in_a_row": _errors_in_a_row(progress.num_errors_in_a_row, window),
            "blind_since_s": None,
            "share_wealth": _share_wealth_after(progress, window) if is_routed else progress.share_wealth,
        }
        | {
            track.name: getattr(progress, track.name).after(
                _values_of(window, track.bad, track.num),
                at_s=progress.now_s,
                tolerance=track.tolerance,
                burst_s=policy.burst_s,
            )
            for track in tracks_of(policy)
        }
    )


class Track(NamedTuple):
    """One metric of the slow test: its votes in `Progress`, its counts in `ArmWindow`."""

    name: Literal["error_votes", "slow_votes", "very_slow_votes"]
    bad: str
    num: str
    tolerance: float


def tracks_of(policy: RolloutPolicy) -> tuple[Track, ...]:
    return (
        Track("error_votes", "num_errors", "num_requests", policy.error_tolerance),
        Track("slow_votes", "num_slow", "num_timed", policy.slow_tolerance),
        Track("very_slow_votes", "num_very_slow", "num_timed", policy.error_tolerance),
    )


def _bet(progress: Progress, unbet: Window, policy: RolloutPolicy) -> dict[str, Any]:
    """The fast test's part of the memory; `progress` is without the newest window."""
    lasted_s = as_batch(progress.now_s - progress.bet_at_s)
    if not has_bet(as_batch(unbet.canary.num_requests), lasted_s=lasted_s)[0]:
        return {"unbet": unbet}
    errors = counts_of(unbet, "num_errors", "num_requests")
    slow, late, very_slow = (counts_of(unbet, name, "num_timed") for name in ("num_slow", "num_late", "num_very_slow"))
    before = totals_of(progress.total.stable - progress.unbet.stable)
    error_wealth = error_wealth_after(wealth_of(progress.error_wealth), errors, before, policy)
    latency_wealth = latency_wealth_after(wealth_of(progress.latency_wealth), slow, late, before, policy)
    very_slow_wealth = very_slow_wealth_after(wealth_of(progress.very_slow_wealth), very_slow, before, policy)
    row_wealth = row_wealth_after(wealth_of(progress.row_wealth), errors, before, policy)
    return {
        "unbet": Window(),
        "bet_at_s": progress.now_s,
        "error_wealth": as_tuple(error_wealth),
        "latency_wealth": as_tuple(latency_wealth),
        "very_slow_wealth": as_tuple(very_slow_wealth),
        "row_wealth": as_tuple(row_wealth),
    }


def _share_wealth_after(progress: Progress, window: Window) -> tuple[float, ...]:
    """Bets that the canary's share of the requests is not the routed one, on odds greater and smaller than that."""
    num = window.canary.num_requests + window.stable.num_requests
    is_routed_anew = progress.now_s - progress.step_began_s > UNDER_WAY_S
    if progress.phase != "live" or not is_routed_anew or num == 0 or not 0 < progress.weight_pct < 100:
        return progress.share_wealth
    routed = progress.weight_pct / 100
    ratios = SHARE_ODDS * routed / (1 - routed + SHARE_ODDS * routed)
    gains = log_gain_over(as_batch(window.canary.num_requests), as_batch(num), ratio_max=routed, ratios=ratios)
    return as_tuple(wealth_of(progress.share_wealth) + gains)


def _errors_in_a_row(so_far: int, window: Window) -> int:
    """Failures since the last success. While stable fails altogether too, the canary is not to blame: no change."""
    canary, stable = window.canary, window.stable
    if canary.num_requests == 0 or (stable.num_requests and stable.num_errors == stable.num_requests):
        return so_far
    return so_far + canary.num_errors if canary.num_errors == canary.num_requests else 0


def _values_of(window: Window, bad: str, num: str) -> tuple[int, int, int, int]:
    canary, stable = window.canary, window.stable
    return getattr(canary, bad), getattr(canary, num), getattr(stable, bad), getattr(stable, num)


def _has_requests(window: Window) -> bool:
    """Refused ones too: somebody asks, if wrongly."""
    return any(arm.num_requests + arm.num_refused > 0 for arm in (window.stable, window.canary))


def _without_latency(window: Window) -> Window:
    return Window(stable=window.stable.without_latency(), canary=window.canary.without_latency())


def _first(known: float | None, now: float) -> float:
    return now if known is None else known
