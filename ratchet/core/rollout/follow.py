"""What an action does to the judge's memory: phase, step, weight, and which evidence begins anew. Pure."""

from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import SHARE_START, Action, Phase, Progress, tracks_of
from ratchet.core.rollout.wealth import ERROR_START, LATENCY_START, VERY_SLOW_START
from ratchet.core.rollout.window import Window


def follow(progress: Progress, action: Action, policy: RolloutPolicy) -> Progress:
    """The memory once the action is taken."""
    if progress.outcome:
        return progress
    if action is Action.ADVANCE:
        return _advanced(progress, policy)
    if action is Action.WITHDRAW:
        return _entered(progress, phase="withdrawn", weight_pct=0, is_mirrored=True, total=Window()).model_copy(
            update={
                track.name: getattr(progress, track.name).discarded(at_s=progress.now_s) for track in tracks_of(policy)
            }
        )
    if action is Action.RETURN:
        return _live_at(progress, progress.step, policy).model_copy(
            update={
                "num_returns": progress.num_returns + 1,
                "error_wealth": tuple(ERROR_START.tolist()),
                "latency_wealth": tuple(LATENCY_START.tolist()),
                "very_slow_wealth": tuple(VERY_SLOW_START.tolist()),
                "quality": progress.quality.with_phase_closed().with_fresh_accuracy(),
            }
        )
    if action is Action.ROLL_BACK:
        return progress.model_copy(update={"outcome": "rolled_back", "weight_pct": 0, "is_mirrored": False})
    if action is Action.INCONCLUSIVE:
        return progress.model_copy(update={"outcome": "inconclusive", "weight_pct": 0, "is_mirrored": False})
    if action is Action.NO_TRAFFIC:
        return progress.model_copy(update={"outcome": "no_traffic", "weight_pct": 0, "is_mirrored": False})
    return progress


def _advanced(progress: Progress, policy: RolloutPolicy) -> Progress:
    if progress.phase == "dark":
        return _live_at(progress, 0, policy)
    if progress.step + 1 < len(policy.judged_steps):
        return _live_at(progress, progress.step + 1, policy)
    return progress.model_copy(
        update={"outcome": "promoted", "step": progress.step + 1, "weight_pct": 100, "is_mirrored": False}
    )


def _live_at(progress: Progress, step: int, policy: RolloutPolicy) -> Progress:
    """Open blocks get their vote: the shares of the traffic are others from now on."""
    weight_pct = policy.judged_steps[step]
    entered = _entered(progress, phase="live", weight_pct=weight_pct, is_mirrored=False, total=progress.total)
    votes = {
        track.name: getattr(progress, track.name).closed(at_s=progress.now_s, tolerance=track.tolerance)
        for track in tracks_of(policy)
    }
    return entered.model_copy(update={"step": step} | votes)


def _entered(progress: Progress, *, phase: Phase, weight_pct: int, is_mirrored: bool, total: Window) -> Progress:
    return progress.model_copy(
        update={
            "phase": phase,
            "weight_pct": weight_pct,
            "is_mirrored": is_mirrored,
            "total": total,
            "recent": Window(),
            "earlier": progress.strata if total != Window() else (),
            "quality": progress.quality.with_phase_closed(),
            "unbet": Window(),
            "bet_at_s": progress.now_s,
            "step_began_s": progress.now_s,
            "silent_since_s": progress.now_s,
            "asking_since_s": None,
            "approved_when_asked_pct": None,
            "share_wealth": SHARE_START,
        }
    )
