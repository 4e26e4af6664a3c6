"""The champion after its promotion: is it worse than it was? Pure.

The judge of rollouts compares two revisions that serve at the same time. A champion serves alone, so here it is
compared with itself: each window of its requests with a window of its own past, of the same size. A past window is
used once, because evidence that meets the same past again and again would take one lucky hour for the truth. When the
past is used up, the windows that were compared with it become the past of those to come, and the evidence begins anew.
What this cannot see is a decline slower than one such round: that is drift_monitor's to find.
"""

from datetime import datetime
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.models.ledger import LedgerEntry
from ratchet.core.rollout.history import JudgedLook, judge_look
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Look, Progress
from ratchet.core.rollout.window import ArmWindow, LatencyLimits, Window

_NEVER = 10**9


class GuardPolicy(BaseModel):
    """What the guard does about what serves (configs/policies/guard.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    orphan_s_max: float = Field(60.0, gt=0)
    """How long a rollout may stand open while no run of its task is under way; then it is closed."""
    window_s: float = Field(10.0, gt=0)
    """Length of one window of the champion's requests."""
    past_requests: int = Field(2_000, ge=100)
    """Requests that the champion must have answered before anything is compared with them."""
    past_windows: int = Field(60, ge=2)
    """Windows that they must be spread over: a past of one second would be the past of one mood, and the slow test,
    which has one vote a minute, needs some ten minutes of it."""
    on_worse: Literal["roll_back", "tell"] = "roll_back"
    """What follows when the judge proves the champion worse than it was: the previous champion comes back, or the
    sensor and the metrics say so."""
    roll_back_s_max: float = Field(86_400.0, ge=0)
    """Only this long after its promotion is a champion rolled back by itself: later the cause is seldom the model."""


class Vigil(BaseModel):
    """All that the guard remembers of one champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str
    began_at: datetime
    limits: LatencyLimits | None = None
    past: tuple[ArmWindow, ...] = ()
    """Windows to compare with, the oldest first; each is used once."""
    fresh: tuple[ArmWindow, ...] = ()
    """Windows since then that raised no suspicion: the next past."""
    progress: Progress | None = None
    """The evidence; None while the past is still being gathered."""

    @property
    def num_past(self) -> int:
        return sum(window.num_requests for window in self.past)

    @property
    def state(self) -> Literal["learning", "well", "suspect", "worse"]:
        """suspect: the fast test has spoken, the slow one has not."""
        if self.progress is None:
            return "learning"
        if self.progress.outcome == "rolled_back":
            return "worse"
        return "suspect" if self.progress.phase == "withdrawn" else "well"


def judge_policy_of(policy: RolloutPolicy) -> RolloutPolicy:
    """The task's own rollout policy, for a comparison that never ends by itself: no step, no deadline, no person."""
    return policy.model_copy(
        update={
            "weight_pct_steps": (50, 100),
            "approval_at_pct": (),
            "dark_requests": 0,
            "min_requests": _NEVER,
            "warm_up_requests": 0,
            "hold_s_max": float(_NEVER),
            "withdrawn_s_max": float(_NEVER),
            "blind_s_max": float(_NEVER),
            "returns_max": _NEVER,
            "on_inconclusive": "withdraw",
            "on_no_traffic": "wait",
        }
    )


def add_window(
    vigil: Vigil, window: ArmWindow, *, at_s: float, is_ready: bool, policy: GuardPolicy, rollout: RolloutPolicy
) -> tuple[Vigil, JudgedLook | None]:
    """One more window of the champion's requests; the look is None while there is no past to compare it with.

    at_s: seconds since the vigil began. A champion that was proven worse stays so.
    """
    if vigil.state == "worse" or (window.num_requests == 0 and is_ready):
        return vigil, None
    if vigil.progress is None:
        return _learn(vigil, window, policy=policy), None
    if not vigil.past:
        return vigil, None
    then, rest = vigil.past[0], vigil.past[1:]
    size = min(then.num_requests, window.num_requests)
    seed = (len(vigil.past), len(vigil.fresh), vigil.num_past, window.num_requests)
    pair = Window(stable=thinned(then, size, seed=seed), canary=thinned(window, size, seed=seed))
    look = Look(at_s=at_s, window=pair, is_canary_ready=is_ready)
    progress, judged = judge_look(vigil.progress, look, rollout)
    seen = vigil.model_copy(update={"past": rest, "progress": progress})
    if seen.state == "well":
        seen = seen.model_copy(update={"fresh": (*vigil.fresh, window)})
    return (seen if rest else _turn(seen, policy=policy)), judged


def thinned(window: ArmWindow, size: int, *, seed: tuple[int, ...]) -> ArmWindow:
    """A random part of a window's requests, `size` of them: hypergeometric counts, the same for the same seed."""
    if size >= window.num_requests:
        return window
    draw = np.random.default_rng(seed)

    def part(num_marked: int, num: int, num_drawn: int) -> int:
        return int(draw.hypergeometric(num_marked, num - num_marked, num_drawn)) if num_drawn else 0

    num_timed = min(window.num_timed, round(window.num_timed * size / window.num_requests))
    num_late = part(window.num_late, window.num_timed, num_timed)
    num_slow = part(window.num_slow, window.num_late, num_late)
    return ArmWindow(
        num_requests=size,
        num_errors=part(window.num_errors, window.num_requests, size),
        num_timed=num_timed,
        num_late=num_late,
        num_slow=num_slow,
        num_very_slow=part(window.num_very_slow, window.num_slow, num_slow),
    )


def is_recent(entries: tuple[LedgerEntry, ...], *, now: datetime, policy: GuardPolicy) -> bool:
    """Whether the champion was promoted, or came back, so lately that its faults are probably its own."""
    if not entries or entries[-1].champion is None:
        return False
    champion = entries[-1].champion
    since = next(
        (entry for entry in reversed(entries) if entry.kind == "promoted" and entry.model.digest == champion.digest),
        entries[-1],
    )
    return (now - since.at).total_seconds() <= policy.roll_back_s_max


def _learn(vigil: Vigil, window: ArmWindow, *, policy: GuardPolicy) -> Vigil:
    """A window without requests (of a champion that is not ready) is nothing to compare with."""
    if window.num_requests == 0:
        return vigil
    learnt = vigil.model_copy(update={"past": (*vigil.past, window)})
    return _begun_if_enough(learnt, policy=policy)


def _turn(vigil: Vigil, *, policy: GuardPolicy) -> Vigil:
    """What was compared is the past now. Too little of it, and more is gathered first.

    Under suspicion the evidence goes on; nothing of that time becomes the past, and when all is used up a person is
    left to decide.
    """
    if vigil.state != "well":
        return vigil.model_copy(update={"past": vigil.fresh, "fresh": ()})
    turned = vigil.model_copy(update={"past": vigil.fresh, "fresh": (), "progress": None})
    return _begun_if_enough(turned, policy=policy)


def _begun_if_enough(vigil: Vigil, *, policy: GuardPolicy) -> Vigil:
    is_enough = vigil.num_past >= policy.past_requests and len(vigil.past) >= policy.past_windows
    return vigil.model_copy(update={"progress": Progress(weight_pct=50)}) if is_enough else vigil
