"""Watching a canary: raise its weight step by step, look, let the judge decide. The traffic is read back every time."""

import logging
from typing import NamedTuple

from ratchet.actions.rollouts import RolloutPorts, is_newest_alive, set_canary_traffic
from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.ports import RevisionCounts, ServiceState, TrafficStats
from ratchet.core.rollout.history import History, JudgedLook, judge_look
from ratchet.core.rollout.judge import Action, Look, Progress
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.window import Window, arm_window_of, latency_limit_of

logger = logging.getLogger(__name__)

_LOG_EVERY_LOOKS = 10


class Reading(NamedTuple):
    """The counters of both revisions at one moment."""

    stable: RevisionCounts
    canary: RevisionCounts


def watch_canary(ports: RolloutPorts, *, task: str, state: ServiceState, policy: RolloutPolicy) -> History:
    """Judge the open canary of `state` from the weight it has now, up to the last judged step.

    The last look decides: ADVANCE means that every step was passed, ROLL_BACK or INCONCLUSIVE that the traffic must
    go; either way it is still where the last step put it. Evidence begins anew after a crash: fewer data, never more.
    Raises Conflict when somebody else changes the service meanwhile.
    """
    clock, began_s = ports.clock, ports.clock.elapsed_s()
    weight_pct = state.traffic_pct.get(state.latest_created_revision, 0)
    progress = Progress(step=step_at(weight_pct, policy))
    before = _read(ports.stats, state)
    limit_ms = None if before is None else latency_limit_of(before.stable, policy)
    looks: list[JudgedLook] = []
    while progress.step < len(policy.judged_steps):
        if weight_pct != policy.judged_steps[progress.step]:
            weight_pct = policy.judged_steps[progress.step]
            logger.info("%s: %d %% of the traffic to the canary", task, weight_pct)
            set_canary_traffic(ports.services, clock, task=task, weight_pct=weight_pct)
        clock.sleep(policy.look_interval_s)
        after, is_ready = _read(ports.stats, state), _is_ready(ports, task=task, state=state)
        window = _window_of(before, after, limit_ms)
        look = Look(at_s=round(clock.elapsed_s() - began_s, 6), window=window, is_canary_ready=is_ready)
        progress, judged = judge_look(progress, look, policy)
        looks.append(judged)
        _log(task, judged, num_looks=len(looks))
        if judged.decision.action in {Action.ROLL_BACK, Action.INCONCLUSIVE}:
            break
        before = after or before
        if limit_ms is None and after is not None:
            limit_ms = latency_limit_of(after.stable, policy)
    return History(looks=tuple(looks), latency_limit_ms=limit_ms)


def step_at(weight_pct: int, policy: RolloutPolicy) -> int:
    """The judged step that a canary with this weight is in, so that a new attempt goes on where the last one died."""
    reached = (step for step, weight in enumerate(policy.judged_steps) if weight >= weight_pct)
    return next(reached, len(policy.judged_steps) - 1)


def _read(stats: TrafficStats, state: ServiceState) -> Reading | None:
    """Both counters, or None when the traffic numbers cannot be had: an outcome of its own, not an error."""
    try:
        return Reading(
            stable=stats.fetch_counts(state.stable_revision), canary=stats.fetch_counts(state.latest_created_revision)
        )
    except Unavailable as error:
        logger.warning("no traffic numbers: %s", error)
        return None


def _window_of(before: Reading | None, after: Reading | None, limit_ms: float | None) -> Window | None:
    """What happened between two readings; nothing is known from the first reading alone."""
    if after is None:
        return None
    if before is None:
        return Window()
    return Window(
        stable=arm_window_of(before.stable, after.stable, latency_limit_ms=limit_ms),
        canary=arm_window_of(before.canary, after.canary, latency_limit_ms=limit_ms),
    )


def _is_ready(ports: RolloutPorts, *, task: str, state: ServiceState) -> bool:
    now = ports.services.fetch(task)
    if now is None or now.latest_created_revision != state.latest_created_revision:
        raise Conflict(
            f"InferenceService {task} no longer has revision {state.latest_created_revision} as its newest: somebody "
            f"else rolls out or rolled back. This run leaves it alone; see `ratchet rollout status --task {task}`."
        )
    return is_newest_alive(now)


def _log(task: str, judged: JudgedLook, *, num_looks: int) -> None:
    if judged.decision.action is not Action.HOLD or num_looks % _LOG_EVERY_LOOKS == 0:
        logger.info("%s at %d %%: %s: %s", task, judged.weight_pct, judged.decision.action, judged.decision.text)
