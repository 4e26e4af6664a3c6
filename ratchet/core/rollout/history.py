"""A rollout as it is judged: every look kept, so that the verdict can be shown and derived again. Pure."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from ratchet.core.digest import digest_of
from ratchet.core.rollout.judge import Action, Decision, Evidence, Look, Progress, decide, measure, next_step, observe
from ratchet.core.rollout.policy import RolloutPolicy


class JudgedLook(BaseModel):
    """One look, what it proved and what it led to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    look: Look
    weight_pct: int
    evidence: Evidence
    decision: Decision


class History(BaseModel):
    """All looks of one rollout, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    looks: tuple[JudgedLook, ...] = ()
    latency_limit_ms: float | None = None

    def as_inputs(self) -> dict[str, Any]:
        """For a verdict's `inputs`: the recorded windows, from which the same decisions follow."""
        return {
            "latency_limit_ms": self.latency_limit_ms,
            "windows": [
                {"weight_pct": judged.weight_pct, "action": judged.decision.action.value}
                | judged.look.model_dump(mode="json")
                for judged in self.looks
            ],
        }


def judge_look(progress: Progress, look: Look, policy: RolloutPolicy) -> tuple[Progress, JudgedLook]:
    """Remember a look, measure and decide; after an advance the progress stands at the next step."""
    seen = observe(progress, look, policy)
    evidence = measure(seen, policy)
    decision = decide(seen, evidence, policy)
    judged = JudgedLook(look=look, weight_pct=policy.judged_steps[seen.step], evidence=evidence, decision=decision)
    return (next_step(seen, at_s=look.at_s) if decision.action is Action.ADVANCE else seen), judged


def policy_digest_of(policy: RolloutPolicy) -> str:
    return digest_of(policy.model_dump(mode="json"))
