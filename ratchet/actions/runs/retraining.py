"""What the sensor and `ratchet run retrain` share: look at a task's labels and runs, and start a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.memory import Memory
from ratchet.actions.labels.stores import LabelStores
from ratchet.actions.runs.claims import end_duplicates, follow_up, start
from ratchet.core.labels.backlog import Backlog
from ratchet.core.ports import Clock, Pipelines, RunState
from ratchet.core.runs import (
    RETRAIN,
    UNKNOWN_CODE,
    CodeState,
    LastRun,
    Rival,
    RunStart,
    Situation,
    Trigger,
    TriggerPolicy,
)
from ratchet.core.runs.signals import Signal
from ratchet.stores.run_claims import NOBODY, ClaimedRun
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.signals import Signals

STARTS_OF = timedelta(days=8)
"""How far back a policy counts runs: a week of budget, and a day for a time zone."""
_REASON_CHARS_MAX = 300
"""One line in a log and a table; the whole reason is in the verdict."""


@dataclass(frozen=True)
class RetrainPorts:
    """What deciding on a run looks at, and what starting one acts on."""

    stores: LabelStores
    signals: Signals
    pipelines: Pipelines
    journal: RunJournal
    clock: Clock
    memory: Memory = field(default_factory=Memory)
    """What was learned of the labels at earlier looks."""


@dataclass(frozen=True)
class TaskLook:
    """What one look at a task found."""

    backlog: Backlog
    newest_claim: ClaimedRun | None
    """Of a training or a rollout: one run of a task at a time."""
    newest_training: ClaimedRun | None
    unfinished: tuple[RunState, ...]
    """The unfinished runs in the task's experiment, whoever started them."""
    starts: tuple[RunStart, ...] = ()
    """Of the last 8 days, newest first."""
    signals: tuple[Signal, ...] = ()
    refusal: str = ""
    """Why `validate` refused the newest version, with its name; "" when it did not."""

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Display names of the unfinished runs."""
        return tuple(run.name for run in self.unfinished)

    @property
    def last(self) -> LastRun | None:
        """The run in flight, whatever it is; else the newest training."""
        claim = self.newest_claim
        told = claim if claim is not None and claim.end is None else self.newest_training
        return told.as_last_run() if told else None

    def situation(
        self,
        policy: TriggerPolicy,
        *,
        task: str,
        policy_digest: str,
        others: Sequence[Rival] = (),
        classes: Sequence[str] = (),
        code: CodeState = UNKNOWN_CODE,
    ) -> Situation:
        """What a decision goes by: the look, and what is known without one."""
        return Situation(
            backlog=self.backlog,
            task=task,
            policy=policy,
            policy_digest=policy_digest,
            last=self.last,
            in_flight=self.in_flight,
            starts=self.starts,
            signals=self.signals,
            others=others,
            classes=classes,
            code=code,
        )

    @property
    def is_busy(self) -> bool:
        return bool(self.unfinished) or (self.last is not None and self.last.end is None)


def look_at_task(ports: RetrainPorts, *, task: str) -> TaskLook:
    """Follow up the newest claim, then look at the labels.

    In this order: a run that ends in between is still in flight here, never a run that has ended whose labels
    seem to wait. That is also what moves the cursor only after a run has ended: while one is in flight nothing is
    decided, and the watermark counts together with how the run that moved it ended.
    """
    newest = follow_up(ports.journal, ports.pipelines, task=task, clock=ports.clock)
    unfinished = tuple(ports.pipelines.list_unfinished(task))
    end_duplicates(ports.pipelines, newest, unfinished)
    pending = list_pending(ports.stores, task=task, memory=ports.memory)
    return TaskLook(
        backlog=pending,
        newest_claim=newest,
        newest_training=ports.journal.find_training(newest),
        unfinished=unfinished,
        starts=_list_starts(ports, newest, task=task),
        signals=ports.signals.fetch(task),
        refusal=pending.refusal[:_REASON_CHARS_MAX],
    )


def start_run(ports: RetrainPorts, trigger: Trigger, look: TaskLook) -> ClaimedRun:
    """Start the run that was decided on; Conflict when somebody else was first since the look."""
    return start(ports.journal, ports.pipelines, trigger, after=look.newest_claim, clock=ports.clock)


def _list_starts(ports: RetrainPorts, newest: ClaimedRun | None, *, task: str) -> tuple[RunStart, ...]:
    """A claim that was closed without a run has cost nothing."""
    claims = ports.journal.list_since(task, newest=newest, since=ports.clock.now() - STARTS_OF)
    return tuple(
        RunStart(at=claimed.claim.claimed_at, ended_at=claimed.end.at if claimed.end else None)
        for claimed in claims
        if claimed.run_id != NOBODY and claimed.claim.trigger.pipeline == RETRAIN
    )
