"""One tick: ask, decide, act."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.actions.runs.retraining import RetrainPorts, TaskLook, look_at_task, start_run
from ratchet.core.errors import Conflict
from ratchet.core.labels.shards import landed_at_of
from ratchet.core.runs import (
    UNKNOWN_CODE,
    CodeState,
    Rival,
    Skip,
    SkipCode,
    Trigger,
    TriggerCode,
    plan_tick,
    threshold_at,
)
from sensors.label_sensor.policies import TaskPolicy


class TickReport(BaseModel):
    """What a tick saw and did."""

    model_config = ConfigDict(frozen=True)

    task: str
    at: AwareDatetime
    outcome: Literal["trigger", "skip", "error"]
    reason: str
    code: SkipCode | TriggerCode | Literal["lost_race", "error"] = "error"
    """The reason in one word. lost_race: somebody else claimed the run between the look and the claim."""
    num_pending: int | None = None
    """New labels; None when the tick could not count them."""
    num_seen: int = 0
    """Of these, those that the last run looks at or said no to: they count towards no other run."""
    num_by_class: Mapping[str, int] = {}
    """Of the shards that say."""
    num_by_labeler: Mapping[str, int] = {}
    num_resent: int = 0
    """Labels that were sent before under another key; not in `num_pending`."""
    oldest_at: AwareDatetime | None = None
    """When the oldest of the new labels landed."""
    newest_at: AwareDatetime | None = None
    """When the newest of them was put, as its key says."""
    not_before: AwareDatetime | None = None
    """When a run starts at the earliest if nothing but the time changes; None: time alone starts none."""
    threshold: int | None = None
    """As the policy says; None when its `when` asks for none."""
    threshold_now: int | None = None
    """After what is known of drift, serving quality and label quality."""
    watermark: str | None = None
    refusal: str = ""
    """Why `validate` refused the newest dataset version; "" when it did not."""
    run_name: str | None = None
    """Of the run that it started."""
    run_id: str | None = None
    """None too when the run is claimed and somebody else submits it."""
    submit_s: float | None = None
    """From the decision to the recorded run."""
    is_running: bool = False
    """Whether a run of the task is in flight."""
    last_started_at: AwareDatetime | None = None
    """When the newest run was claimed."""


def no_others() -> Sequence[Rival]:
    return ()


def tell_nobody(report: "TickReport") -> None:
    pass


def tick(
    ports: RetrainPorts,
    policy: TaskPolicy,
    *,
    task: str,
    others: Callable[[], Sequence[Rival]] = no_others,
    turn: AbstractContextManager[object] | None = None,
    tell: Callable[[TickReport], None] = tell_nobody,
    code: CodeState = UNKNOWN_CODE,
    try_code: Callable[[], CodeState] | None = None,
) -> TickReport:
    """Look at a task once, and start a run when its labels are worth one.

    others: the other tasks as last seen. turn: held from the decision until `tell` knows of the run, so that of several
    tasks that are looked at together each knows what the others have just started. code: of the task, as it is known.
    try_code: tries it, for seconds; asked once a run is due, outside of the turn.
    """
    look = look_at_task(ports, task=task)
    if try_code is not None and isinstance(
        decide(look, policy, task=task, ports=ports, others=others(), code=code), Trigger
    ):
        code = try_code()
    with turn or nullcontext():
        decision = decide(look, policy, task=task, ports=ports, others=others(), code=code)
        report = report_of(look, decision, policy, task=task, ports=ports)
        if isinstance(decision, Trigger):
            report = act(ports, decision, look, report=report)
        tell(report)
        return report


def report_of(
    look: TaskLook, decision: Trigger | Skip, policy: TaskPolicy, *, task: str, ports: RetrainPorts
) -> TickReport:
    """What the tick saw; a run that it starts is added by `act`."""
    now = ports.clock.now()
    newest = max(look.backlog.shard_keys, default=None)
    waiting = look.situation(policy.trigger, task=task, policy_digest=policy.digest).waiting
    return TickReport(
        task=task,
        at=now,
        outcome="skip",
        reason="; ".join(filter(None, (decision.reason, look.refusal))),
        code=decision.code,
        num_pending=look.backlog.num_labels,
        num_seen=look.backlog.num_labels - waiting.num_labels,
        num_by_class=look.backlog.num_by_class,
        num_by_labeler=look.backlog.num_by_labeler,
        num_resent=look.backlog.num_resent,
        oldest_at=look.backlog.oldest_at,
        newest_at=landed_at_of(newest) if newest else None,
        not_before=decision.not_before if isinstance(decision, Skip) else None,
        threshold=threshold_at(policy.trigger, (), at=now),
        threshold_now=threshold_at(policy.trigger, look.signals, at=now),
        watermark=look.backlog.watermark,
        refusal=look.refusal,
        is_running=look.is_busy,
        last_started_at=look.newest_claim.claim.claimed_at if look.newest_claim else None,
    )


def decide(
    look: TaskLook,
    policy: TaskPolicy,
    *,
    task: str,
    ports: RetrainPorts,
    others: Sequence[Rival] = (),
    code: CodeState = UNKNOWN_CODE,
) -> Trigger | Skip:
    situation = look.situation(
        policy.trigger, task=task, policy_digest=policy.digest, others=others, classes=policy.classes, code=code
    )
    return plan_tick(situation, now=ports.clock.now())


def act(ports: RetrainPorts, trigger: Trigger, look: TaskLook, *, report: TickReport) -> TickReport:
    began_at_s = ports.clock.elapsed_s()
    try:
        run = start_run(ports, trigger, look)
    except Conflict as conflict:
        reason = f"another process claimed this run first ({conflict})"
        return report.model_copy(update={"reason": reason, "code": "lost_race"})
    return report.model_copy(
        update={
            "outcome": "trigger",
            "run_name": run.claim.run_name,
            "run_id": run.run_id or None,
            "submit_s": ports.clock.elapsed_s() - began_at_s,
            "is_running": True,
            "last_started_at": run.claim.claimed_at,
        },
    )
