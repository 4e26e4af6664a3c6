"""When a run starts: new labels, one run at a time, failed runs retried within bounds. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.digest import digest_of

RunEndState = Literal["SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"]
"""CANCELED: a person stopped it, so nothing retries it."""


class TriggerPolicy(BaseModel):
    """When the sensor spends money (configs/policies/trigger.yaml); its digest goes into every run key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: int = Field(200, gt=0)
    """New labels that are worth a training run."""
    failed_attempts_max: int = Field(3, ge=1)
    """Runs that may fail in a row before the sensor waits for a person. A "no" of a gate is not a failure."""
    retry_wait_s: float = Field(30.0, ge=0)
    """Pause after the first failed run; it doubles with each further one, so that a short outage heals by itself."""


class Backlog(BaseModel):
    """The labels that no accepted dataset version holds yet, without the quarantined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    watermark: str
    """Last label shard of the newest accepted dataset version; "" before the first."""
    num_labels: int = Field(ge=0)
    shard_keys: tuple[str, ...] = ()
    """In key order."""

    def digest_through(self, shard_key: str) -> str:
        """Names the set of these shards up to and with `shard_key`."""
        return digest_of([key for key in self.shard_keys if key <= shard_key])


class Trigger(BaseModel):
    """Start a run, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_key: str
    reason: str
    task: str
    watermark: str
    attempt: int = Field(ge=0)
    """How many runs started from this watermark before."""
    policy_digest: str
    num_labels: int = Field(ge=0)
    """New labels that it starts with."""
    newest_shard: str
    """The last of their shards; "" when there is none."""
    shards_digest: str
    """`Backlog.digest_through(newest_shard)`."""
    num_failed_before: int = Field(0, ge=0)
    """Failed runs in a row right before this one."""
    trains_accepted: bool = False
    """Its labels are accepted already: the run that took them in failed later."""


class Skip(BaseModel):
    """Start nothing, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str


class RunEnd(BaseModel):
    """How a run ended, as it was first seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: RunEndState
    at: AwareDatetime
    error: str = ""


class LastRun(BaseModel):
    """The newest run that was claimed for a task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Display name in KFP."""
    trigger: Trigger
    end: RunEnd | None = None
    """None while it runs."""

    @property
    def has_failed(self) -> bool:
        return self.end is not None and self.end.state == "FAILED"

    @property
    def num_failed(self) -> int:
        """Failed runs in a row, with this one."""
        return self.trigger.num_failed_before + 1 if self.has_failed else 0


def plan_tick(
    backlog: Backlog,
    *,
    task: str,
    policy: TriggerPolicy,
    policy_digest: str,
    last: LastRun | None,
    in_flight: Sequence[str],
    now: datetime,
) -> Trigger | Skip:
    """Whether the sensor starts a run now. `in_flight`: display names of the task's unfinished runs.

    A run that failed under other policies than today's does not count: changing a policy is how people repair it.
    """
    if busy := _busy_reason(last, in_flight):
        return Skip(reason=f"{busy}; waiting: {_describe(backlog)}")
    judged = last if last is not None and last.trigger.policy_digest == policy_digest else None
    is_owed = last is not None and _is_owed(last, backlog)
    if not is_owed and _num_countable(backlog, judged) < policy.threshold:
        return Skip(reason=_short_reason(backlog, policy=policy, last=judged))
    failed = judged if judged is not None and judged.has_failed else None
    if failed is not None and (hold := _hold_reason(failed, task=task, policy=policy, now=now)):
        return Skip(reason=hold)
    return _trigger(
        backlog,
        task=task,
        policy_digest=policy_digest,
        last=last,
        reason=_due_reason(backlog, policy=policy, failed=last if is_owed else failed, is_owed=is_owed),
        num_failed_before=failed.num_failed if failed else 0,
        trains_accepted=is_owed,
    )


def plan_request(
    backlog: Backlog,
    *,
    task: str,
    policy_digest: str,
    last: LastRun | None,
    in_flight: Sequence[str],
    again: bool,
) -> Trigger | Skip:
    """Whether a person's `ratchet run retrain` starts a run: not twice on the same labels, unless `again`."""
    if busy := _busy_reason(last, in_flight):
        return Skip(reason=f"{busy}. Follow it with `ratchet runs watch`, or end it with `ratchet runs terminate`.")
    if not again and backlog.num_labels == 0:
        return Skip(
            reason=f"{_describe(backlog)}: nothing to train on. Push some (`ratchet labels push FILE --task {task}`), "
            "or train once more on what is there with --again."
        )
    if not again and last is not None and last.end is not None and _num_unseen(backlog, last) == 0:
        return Skip(
            reason=f"run {last.name} ended {last.end.state} on these same {backlog.num_labels} labels. "
            "Run it once more with --again."
        )
    asked = "asked for again by a person" if again else "asked for by a person"
    return _trigger(
        backlog, task=task, policy_digest=policy_digest, last=last, reason=f"{asked}, with {_describe(backlog)}"
    )


def run_key_of(*, task: str, watermark: str, policy_digest: str, attempt: int) -> str:
    """Our identity for one triggered run."""
    return digest_of({"task": task, "watermark": watermark, "policy_digest": policy_digest, "attempt": attempt})


def run_name_of(task: str, run_key: str) -> str:
    """The display name in KFP, by which a run is found again when its submitter died."""
    return f"retrain-{task}-{run_key[:12]}"


def _trigger(
    backlog: Backlog,
    *,
    task: str,
    policy_digest: str,
    last: LastRun | None,
    reason: str,
    num_failed_before: int = 0,
    trains_accepted: bool = False,
) -> Trigger:
    attempt = last.trigger.attempt + 1 if last is not None and last.trigger.watermark == backlog.watermark else 0
    newest_shard = backlog.shard_keys[-1] if backlog.shard_keys else ""
    return Trigger(
        run_key=run_key_of(task=task, watermark=backlog.watermark, policy_digest=policy_digest, attempt=attempt),
        reason=reason,
        task=task,
        watermark=backlog.watermark,
        attempt=attempt,
        policy_digest=policy_digest,
        num_labels=backlog.num_labels,
        newest_shard=newest_shard,
        shards_digest=backlog.digest_through(newest_shard),
        num_failed_before=num_failed_before,
        trains_accepted=trains_accepted,
    )


def _busy_reason(last: LastRun | None, in_flight: Sequence[str]) -> str | None:
    names = list(in_flight)
    if last is not None and last.end is None and last.name not in names:
        names.append(last.name)
    if not names:
        return None
    return f"{len(names)} {'run is' if len(names) == 1 else 'runs are'} in flight ({', '.join(names)}), 1 at a time"


def _due_reason(backlog: Backlog, *, policy: TriggerPolicy, failed: LastRun | None, is_owed: bool) -> str:
    numbers = f"{_describe(backlog)}, threshold {policy.threshold}"
    if failed is None:
        return numbers
    after = " after its labels were accepted" if is_owed else ""
    return f"run {failed.name} failed{after}, {failed.num_failed} in a row; {numbers}"


def _short_reason(backlog: Backlog, *, policy: TriggerPolicy, last: LastRun | None) -> str:
    countable = _num_countable(backlog, last)
    if last is not None and last.end is not None and countable < backlog.num_labels:
        return (
            f"{countable} labels since run {last.name}, which ended {last.end.state} and left "
            f"{backlog.num_labels - countable} of them, threshold {policy.threshold}"
        )
    return f"{_describe(backlog)}, threshold {policy.threshold}"


def _hold_reason(failed: LastRun, *, task: str, policy: TriggerPolicy, now: datetime) -> str | None:
    assert failed.end is not None
    if failed.num_failed >= policy.failed_attempts_max:
        return (
            f"{failed.num_failed} runs failed in a row, limit {policy.failed_attempts_max}; the last is {failed.name}. "
            f"See `ratchet runs list`, repair the cause, then `ratchet run retrain --task {task} --again`."
        )
    due_at = failed.end.at + timedelta(seconds=policy.retry_wait_s * 2**failed.trigger.num_failed_before)
    if now < due_at:
        return (
            f"run {failed.name} failed, {failed.num_failed} in a row of {policy.failed_attempts_max} allowed; "
            f"next attempt in {(due_at - now).total_seconds():.0f} s"
        )
    return None


def _is_owed(last: LastRun, backlog: Backlog) -> bool:
    """Whether a run failed after its labels were accepted: they count as new no more, and no model has seen them."""
    return last.has_failed and (last.trigger.watermark != backlog.watermark or last.trigger.trains_accepted)


def _num_countable(backlog: Backlog, last: LastRun | None) -> int:
    """New labels, without those that a gate said no to and left: it neither accepted nor quarantined them."""
    return backlog.num_labels if last is None or last.has_failed else _num_unseen(backlog, last)


def _num_unseen(backlog: Backlog, last: LastRun) -> int:
    seen = last.trigger
    is_as_left = (
        seen.watermark == backlog.watermark
        and seen.newest_shard != ""
        and backlog.digest_through(seen.newest_shard) == seen.shards_digest
    )
    return max(backlog.num_labels - seen.num_labels, 0) if is_as_left else backlog.num_labels


def _describe(backlog: Backlog) -> str:
    num_shards = len(backlog.shard_keys)
    shards = "1 shard" if num_shards == 1 else f"{num_shards} shards"
    since = f"after {backlog.watermark.rpartition('/')[2]}" if backlog.watermark else "and no dataset version yet"
    return f"{backlog.num_labels} new labels in {shards} {since}"
