"""`Situation`: all that a decision looks at, and what of it counts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.shards import landed_at_of
from ratchet.core.runs.facts import UNKNOWN_CODE, CodeState, LastRun, Rival, RunStart
from ratchet.core.runs.policy import Condition, TriggerPolicy
from ratchet.core.runs.signals import Signal


@dataclass(frozen=True)
class Waiting:
    """New labels, without those that a gate said no to and left: it neither accepted nor quarantined them."""

    num_labels: int
    num_by_class: Mapping[str, int]
    oldest_at: datetime | None


@dataclass(frozen=True)
class Situation:
    """A task as one look found it: all that a decision needs but the time."""

    backlog: Backlog
    task: str
    policy_digest: str
    policy: TriggerPolicy = field(default_factory=TriggerPolicy)
    last: LastRun | None = None
    in_flight: Sequence[str] = ()
    """Display names of the task's unfinished runs, whoever started them."""
    starts: Sequence[RunStart] = ()
    """The task's runs of the last 8 days, for cooldown, budget and turns."""
    signals: Sequence[Signal] = ()
    """The newest finding of each kind."""
    others: Sequence[Rival] = ()
    """The other tasks as last seen."""
    classes: Sequence[str] = ()
    """Of the task."""
    code: CodeState = UNKNOWN_CODE
    """Of the task, as far as it is known here."""

    @cached_property
    def conditions(self) -> Condition:
        return self.policy.conditions

    @cached_property
    def judged(self) -> LastRun | None:
        """The last run, if it ran under today's policy: changing a policy is how people repair a failing run."""
        is_current = self.last is not None and self.last.trigger.policy_digest == self.policy_digest
        return self.last if is_current else None

    @cached_property
    def failed(self) -> LastRun | None:
        return self.judged if self.judged is not None and self.judged.has_failed else None

    @cached_property
    def is_owed(self) -> bool:
        """Whether a run failed after its labels were accepted: they are new no more, and no model has seen them."""
        last = self.last
        return (
            last is not None
            and last.has_failed
            and (last.trigger.watermark != self.backlog.watermark or last.trigger.trains_accepted)
        )

    @cached_property
    def waiting(self) -> Waiting:
        is_fresh = self.judged is None or self.judged.has_failed
        return waiting_of(self.backlog, None if is_fresh else self.judged)

    @cached_property
    def description(self) -> str:
        """The numbers that count, in words."""
        judged, left = self.judged, self.backlog.num_labels - self.waiting.num_labels
        if judged is not None and judged.end is not None and left > 0:
            return (
                f"{self.waiting.num_labels} labels since run {judged.name}, which ended {judged.end.state} "
                f"and left {left} of them"
            )
        return describe(self.backlog)


def waiting_of(backlog: Backlog, last: LastRun | None) -> Waiting:
    """What waits since `last` looked; all of it when None, or when the labels are not those that it left."""
    if last is None or not _is_as_left(backlog, last):
        return Waiting(backlog.num_labels, backlog.num_by_class, backlog.oldest_at)
    seen = last.trigger
    return Waiting(
        num_labels=max(backlog.num_labels - seen.num_labels, 0),
        num_by_class={
            # A look that is still behind that run (`_is_behind`) has counted fewer.
            name: max(number - seen.num_by_class.get(name, 0), 0)
            for name, number in backlog.num_by_class.items()
        },
        oldest_at=_oldest_after(backlog, seen.newest_shard),
    )


def describe(backlog: Backlog) -> str:
    num_shards = len(backlog.shard_keys)
    shards = "1 shard" if num_shards == 1 else f"{num_shards} shards"
    since = f"after {backlog.watermark.rpartition('/')[2]}" if backlog.watermark else "and no dataset version yet"
    resent = f" ({backlog.num_resent} re-sent ones do not count)" if backlog.num_resent else ""
    return f"{backlog.num_labels} new labels in {shards} {since}{resent}"


def _is_as_left(backlog: Backlog, last: LastRun) -> bool:
    seen = last.trigger
    if seen.watermark != backlog.watermark or seen.newest_shard == "":
        return False
    return backlog.digest_through(seen.newest_shard) == seen.shards_digest or _is_behind(backlog, seen.newest_shard)


def _is_behind(backlog: Backlog, newest_seen: str) -> bool:
    """Whether a look at a flood (a new process begins anew) has yet to reach what that run saw."""
    return backlog.num_left > 0 and max(backlog.shard_keys, default="") < newest_seen


def _oldest_after(backlog: Backlog, newest_seen: str) -> datetime | None:
    """When the first shard beyond `newest_seen` landed, by its key: keys sort by time."""
    unseen = next((key for key in backlog.shard_keys if key > newest_seen), None)
    if unseen is None:
        return None
    try:
        return landed_at_of(unseen)
    except ValueError:
        return backlog.oldest_at
