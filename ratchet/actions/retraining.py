"""What the sensor and `ratchet run retrain` share: look at a task's labels and runs, and start a run."""

from dataclasses import dataclass, field

from ratchet.actions.clock import Clock, SystemClock
from ratchet.actions.datasets import list_pending
from ratchet.actions.run_claims import ClaimedRun, Hook, RunJournal, no_hook, settle, start
from ratchet.core.ports import DatasetStore, LabelStore, ObjectStore, Pipelines
from ratchet.core.trigger import Backlog, LastRun, Trigger


@dataclass(frozen=True)
class RetrainPorts:
    """What deciding on a run looks at, and what starting one acts on."""

    labels: LabelStore
    datasets: DatasetStore
    objects: ObjectStore
    pipelines: Pipelines
    journal: RunJournal
    verdicts_bucket: str
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True)
class Situation:
    """All that a decision needs to know about a task."""

    backlog: Backlog
    newest_claim: ClaimedRun | None
    in_flight: tuple[str, ...]
    """Display names of the unfinished runs in the task's experiment, whoever started them."""

    @property
    def last(self) -> LastRun | None:
        return self.newest_claim.as_last_run() if self.newest_claim else None

    @property
    def is_busy(self) -> bool:
        return bool(self.in_flight) or (self.last is not None and self.last.end is None)


def ask_situation(ports: RetrainPorts, *, task: str, at: Hook = no_hook) -> Situation:
    """Settle the newest claim, then look at the labels.

    In this order: a run that ends in between is still in flight here, never a run that has ended whose labels
    seem to wait.
    """
    newest = settle(ports.journal, ports.pipelines, task=task, clock=ports.clock, at=at)
    in_flight = tuple(run.name for run in ports.pipelines.list_unfinished(task))
    pending = list_pending(ports.labels, ports.datasets, ports.objects, task=task, bucket=ports.verdicts_bucket)
    backlog = Backlog(
        watermark=pending.watermark,
        num_labels=pending.num_labels,
        shard_keys=tuple(shard.key for shard in pending.shards),
    )
    return Situation(backlog=backlog, newest_claim=newest, in_flight=in_flight)


def start_run(ports: RetrainPorts, trigger: Trigger, situation: Situation, *, at: Hook = no_hook) -> ClaimedRun:
    """Start the run that was decided on; Conflict when somebody else was first since the look."""
    return start(ports.journal, ports.pipelines, trigger, after=situation.newest_claim, clock=ports.clock, at=at)
