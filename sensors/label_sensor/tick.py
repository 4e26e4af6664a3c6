"""One tick: ask, decide, act."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.actions.retraining import RetrainPorts, Situation, ask_situation, start_run
from ratchet.actions.run_claims import Hook, no_hook
from ratchet.core.errors import Conflict
from ratchet.core.trigger import Skip, Trigger, plan_tick
from sensors.label_sensor.policies import TaskPolicy


class TickReport(BaseModel):
    """What a tick saw and did."""

    model_config = ConfigDict(frozen=True)

    task: str
    at: AwareDatetime
    outcome: Literal["trigger", "skip", "error"]
    reason: str
    num_pending: int | None = None
    """New labels; None when the tick could not count them."""
    threshold: int | None = None
    watermark: str | None = None
    run_name: str | None = None
    """Of the run that it started."""
    run_id: str | None = None


def tick(ports: RetrainPorts, policy: TaskPolicy, *, task: str, at: Hook = no_hook) -> TickReport:
    """Look at a task once, and start a run when its labels are worth one."""
    now = ports.clock.now()
    situation = ask_situation(ports, task=task, at=at)
    decision = decide(situation, policy, task=task, ports=ports)
    report = TickReport(
        task=task,
        at=now,
        outcome="skip",
        reason=decision.reason,
        num_pending=situation.backlog.num_labels,
        threshold=policy.trigger.threshold,
        watermark=situation.backlog.watermark,
    )
    return report if isinstance(decision, Skip) else act(ports, decision, situation, report=report, at=at)


def decide(situation: Situation, policy: TaskPolicy, *, task: str, ports: RetrainPorts) -> Trigger | Skip:
    return plan_tick(
        situation.backlog,
        task=task,
        policy=policy.trigger,
        policy_digest=policy.digest,
        last=situation.last,
        in_flight=situation.in_flight,
        now=ports.clock.now(),
    )


def act(
    ports: RetrainPorts, trigger: Trigger, situation: Situation, *, report: TickReport, at: Hook = no_hook
) -> TickReport:
    try:
        run = start_run(ports, trigger, situation, at=at)
    except Conflict as conflict:
        return report.model_copy(update={"reason": f"somebody else claimed this run first ({conflict})"})
    return report.model_copy(
        update={"outcome": "trigger", "run_name": run.claim.run_name, "run_id": run.run_id},
    )
