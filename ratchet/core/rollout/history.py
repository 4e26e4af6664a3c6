"""A rollout as it is judged: every look kept, so that the verdict can be shown and derived again. Pure."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from ratchet.core.digest import digest_of
from ratchet.core.rollout.decide import decide, is_person_needed
from ratchet.core.rollout.evidence import Evidence, measure
from ratchet.core.rollout.follow import follow
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Decision, Look, Phase, Progress, begin, observe
from ratchet.core.rollout.waiting import is_out_of_time
from ratchet.core.rollout.window import LatencyLimits


class JudgedLook(BaseModel):
    """One look, what it proved and what it led to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    look: Look
    phase: Phase
    weight_pct: int
    """The phase and the weight that the look saw."""
    evidence: Evidence
    decision: Decision


class History(BaseModel):
    """All looks of one rollout, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    looks: tuple[JudgedLook, ...] = ()
    limits: LatencyLimits | None = None

    def as_inputs(self) -> dict[str, Any]:
        """For a verdict's `inputs`: the recorded windows, from which the same decisions follow."""
        return {
            "latency_limits_ms": None if self.limits is None else list(self.limits),
            "windows": [
                {"weight_pct": judged.weight_pct, "action": judged.decision.action.value}
                | judged.look.model_dump(mode="json")
                for judged in self.looks
            ],
        }


def judge_look(progress: Progress, look: Look, policy: RolloutPolicy) -> tuple[Progress, JudgedLook]:
    """Remember a look, measure and decide; the progress that comes back says what must be routed now.

    Once a rollout is over it stays as it is, whatever is seen after.
    """
    seen = progress if progress.outcome else observe(progress, look, policy)
    evidence = measure(seen, policy)
    seen = seen if seen.outcome else _with_person(seen, evidence, policy, since_s=progress.now_s)
    decision = decide(seen, evidence, policy)
    if decision.action is Action.INCONCLUSIVE and _may_ask(seen, policy):
        seen = seen.model_copy(
            update={
                "asking_since_s": seen.now_s,
                "approved_when_asked_pct": seen.orders.approved_pct,
                "num_approvals_when_asked": seen.orders.num_approvals,
            }
        )
        decision = decide(seen, evidence, policy)
    judged = JudgedLook(
        look=look, phase=progress.phase, weight_pct=progress.weight_pct, evidence=evidence, decision=decision
    )
    return follow(seen, decision.action, policy), judged


def replay_looks(looks: Sequence[Look], policy: RolloutPolicy) -> tuple[Progress, tuple[JudgedLook, ...]]:
    """Judge recorded looks again from the beginning; the same looks have the same decisions, bit for bit."""
    progress, judged = begin(policy), list[JudgedLook]()
    for look in looks:
        progress, latest = judge_look(progress, look, policy)
        judged.append(latest)
    return progress, tuple(judged)


def policy_digest_of(policy: RolloutPolicy) -> str:
    return digest_of(policy.model_dump(mode="json"))


def _with_person(progress: Progress, evidence: Evidence, policy: RolloutPolicy, *, since_s: float) -> Progress:
    """While a person is waited for, the time of the step stands still; the wait has a limit of its own."""
    if not is_person_needed(progress, evidence, policy):
        return progress.model_copy(update={"asking_since_s": None})
    began_s = min(progress.step_began_s + progress.now_s - since_s, progress.now_s)
    silent_since_s = min(progress.silent_since_s + progress.now_s - since_s, progress.now_s)
    asking_since_s = progress.now_s if progress.asking_since_s is None else progress.asking_since_s
    return progress.model_copy(
        update={"step_began_s": began_s, "silent_since_s": silent_since_s, "asking_since_s": asking_since_s}
    )


def _may_ask(progress: Progress, policy: RolloutPolicy) -> bool:
    return (
        policy.on_inconclusive == "ask"
        and progress.asking_since_s is None
        and not progress.orders.abort_reason
        and progress.blind_since_s is None
        and is_out_of_time(progress, policy)
    )
