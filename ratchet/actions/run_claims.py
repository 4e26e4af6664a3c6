"""Run keys claimed exactly once: a journal in S3, and deeds that any crash leaves repairable.

`s3://ratchet/runs/<task>/<seq:08d>/` holds, each written once with `If-None-Match: *`:

- `claim.json`: who may start the run with this run key. Claim `seq` is written only when claim `seq - 1` has ended, so
  the journal allows one run at a time, whoever asks: the sensor, its second replica, a person.
- `lease-<n>.json`: who may submit it until when. The claim is lease 0; when a lease is over and the run is not to be
  found in KFP by its name, its owner died before submitting, and somebody takes the next lease.
- `run.json`: the run id that KFP gave. Whoever finds another one there ends his own run.
- `end.json`: how the run ended, as first seen; it outlives KFP's memory of the run.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.actions.clock import Clock
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.ports import ObjectStore, Pipelines, RunState
from ratchet.core.trigger import LastRun, RunEnd, Trigger, run_name_of

log = logging.getLogger(__name__)

PIPELINE = "retrain"
LEASE_S = 30.0
"""How long an owner may take to submit. Longer than all timeouts of one submission together."""
SUBMIT_WITHIN_S = 5.0
"""An owner who was held up longer than this does not submit: his lease may be over before KFP answers."""

Hook = Callable[[str], None]
Part = TypeVar("Part", bound=BaseModel)


def no_hook(point: str) -> None:
    """Crash tests put a kill here."""


class RunClaim(BaseModel):
    """Who may start a run, and with what in view."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=1)
    owner: str
    """Unique for each attempt to claim: a retried PUT must not take another's claim for its own."""
    claimed_at: AwareDatetime
    trigger: Trigger

    @property
    def run_name(self) -> str:
        return run_name_of(self.trigger.task, self.trigger.run_key)


class Lease(BaseModel):
    """The right to submit a claimed run, until LEASE_S after `taken_at`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    owner: str
    taken_at: AwareDatetime

    def is_over(self, now: datetime) -> bool:
        return now >= self.taken_at + timedelta(seconds=LEASE_S)


class SubmittedRun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str


class ClaimedRun(BaseModel):
    """All that the journal says about one claim."""

    model_config = ConfigDict(frozen=True)

    claim: RunClaim
    lease: Lease
    run_id: str | None = None
    end: RunEnd | None = None

    def as_last_run(self) -> LastRun:
        return LastRun(name=self.claim.run_name, trigger=self.claim.trigger, end=self.end)


class RunJournal:
    """The claims of every task. It remembers only where the newest one was: a hint that costs a restart ~20 looks."""

    def __init__(self, objects: ObjectStore, *, bucket: str) -> None:
        self._objects = objects
        self._root = f"s3://{bucket}/runs"
        self._newest_seq: dict[str, int] = {}

    def fetch_newest(self, task: str) -> ClaimedRun | None:
        seq = self._find_newest_seq(task)
        try:
            return None if seq == 0 else self._fetch(task, seq)
        except NotFound:
            self._newest_seq.pop(task)
            raise

    def append_claim(self, trigger: Trigger, *, after_seq: int, now: datetime) -> ClaimedRun:
        """Conflict when somebody else claimed the place after `after_seq`."""
        claim = RunClaim(seq=after_seq + 1, owner=uuid.uuid4().hex, claimed_at=now, trigger=trigger)
        self._put(trigger.task, claim.seq, "claim", claim)
        return ClaimedRun(claim=claim, lease=Lease(number=0, owner=claim.owner, taken_at=now))

    def take_lease(self, claimed: ClaimedRun, *, now: datetime) -> ClaimedRun:
        """Conflict when somebody else took it."""
        lease = Lease(number=claimed.lease.number + 1, owner=uuid.uuid4().hex, taken_at=now)
        self._put(claimed.claim.trigger.task, claimed.claim.seq, f"lease-{lease.number:08d}", lease)
        return claimed.model_copy(update={"lease": lease})

    def record_run(self, claimed: ClaimedRun, run_id: str) -> ClaimedRun:
        """The first run id that was recorded stays; the answer holds it."""
        task, seq = claimed.claim.trigger.task, claimed.claim.seq
        try:
            self._put(task, seq, "run", SubmittedRun(run_id=run_id))
        except Conflict:
            run_id = self._fetch_part(task, seq, "run", SubmittedRun).run_id
        return claimed.model_copy(update={"run_id": run_id})

    def record_end(self, claimed: ClaimedRun, end: RunEnd) -> ClaimedRun:
        """The first to see it end is believed: all saw the same run."""
        task, seq = claimed.claim.trigger.task, claimed.claim.seq
        try:
            self._put(task, seq, "end", end)
        except Conflict:
            end = self._fetch_part(task, seq, "end", RunEnd)
        return claimed.model_copy(update={"end": end})

    def _fetch(self, task: str, seq: int) -> ClaimedRun:
        claim = self._fetch_part(task, seq, "claim", RunClaim)
        lease = Lease(number=0, owner=claim.owner, taken_at=claim.claimed_at)
        folder = f"{self._folder(task, seq)}/"
        parts = [uri.removeprefix(folder).removesuffix(".json") for uri in self._objects.list_uris(folder)]
        if leases := [part for part in parts if part.startswith("lease-")]:
            lease = self._fetch_part(task, seq, max(leases), Lease)
        run_id = self._fetch_part(task, seq, "run", SubmittedRun).run_id if "run" in parts else None
        end = self._fetch_part(task, seq, "end", RunEnd) if "end" in parts else None
        return ClaimedRun(claim=claim, lease=lease, run_id=run_id, end=end)

    def _find_newest_seq(self, task: str) -> int:
        """The journal has no holes, so doubling steps and then halves find its end in O(log n) looks."""
        low = self._newest_seq.get(task, 0)
        step = 1
        while self._has_claim(task, low + step):
            low, step = low + step, step * 2
        while step > 1:
            step //= 2
            if self._has_claim(task, low + step):
                low += step
        self._newest_seq[task] = low
        return low

    def _has_claim(self, task: str, seq: int) -> bool:
        return self._objects.exists(f"{self._folder(task, seq)}/claim.json")

    def _put(self, task: str, seq: int, part: str, value: BaseModel) -> None:
        self._objects.put_if_absent(f"{self._folder(task, seq)}/{part}.json", value.model_dump_json().encode())

    def _fetch_part(self, task: str, seq: int, part: str, kind: type[Part]) -> Part:
        return kind.model_validate_json(self._objects.fetch(f"{self._folder(task, seq)}/{part}.json"))

    def _folder(self, task: str, seq: int) -> str:
        return f"{self._root}/{task}/{seq:08d}"


def settle(
    journal: RunJournal, pipelines: Pipelines, *, task: str, clock: Clock, at: Hook = no_hook
) -> ClaimedRun | None:
    """The newest claim, after finishing what its owner left undone; None before the first.

    Its run is looked for by name before anybody submits it again: a crash after the submission is not a second run.
    """
    claimed = journal.fetch_newest(task)
    if claimed is None or claimed.end is not None:
        return claimed
    if claimed.run_id is None:
        claimed = _settle_submission(journal, pipelines, claimed, clock=clock, at=at)
    if claimed.run_id is None:
        return claimed
    return _settle_end(journal, pipelines, claimed, now=clock.now())


def start(
    journal: RunJournal,
    pipelines: Pipelines,
    trigger: Trigger,
    *,
    after: ClaimedRun | None,
    clock: Clock,
    at: Hook = no_hook,
) -> ClaimedRun:
    """Claim, submit, record. Conflict when somebody else claimed since `after` was the newest claim."""
    assert after is None or after.end is not None, f"{after.claim.run_name} has not ended" if after else ""
    at("before claim")
    claimed = journal.append_claim(trigger, after_seq=after.claim.seq if after else 0, now=clock.now())
    at("after claim")
    return _submit(journal, pipelines, claimed, clock=clock, at=at)


def _settle_submission(
    journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, *, clock: Clock, at: Hook
) -> ClaimedRun:
    if found := pipelines.find_runs(claimed.claim.run_name):
        return _record(journal, pipelines, claimed, found, at=at)
    if not claimed.lease.is_over(clock.now()):
        return claimed
    try:
        claimed = journal.take_lease(claimed, now=clock.now())
    except Conflict:
        return claimed
    log.info("%s was claimed and never submitted: submitting it", claimed.claim.run_name)
    return _submit(journal, pipelines, claimed, clock=clock, at=at)


def _submit(journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, *, clock: Clock, at: Hook) -> ClaimedRun:
    """Submit while the lease is young; else leave it to whoever takes the next lease."""
    name, trigger = claimed.claim.run_name, claimed.claim.trigger
    within_s = SUBMIT_WITHIN_S - (clock.now() - claimed.lease.taken_at).total_seconds()
    if within_s <= 0:
        log.warning("%s was claimed over %.0f s ago: left to the next tick", name, SUBMIT_WITHIN_S)
        return claimed
    try:
        run_id = pipelines.submit(
            PIPELINE,
            run_name=name,
            experiment=trigger.task,
            parameters={"task": trigger.task, "run_key": trigger.run_key},
            start_within_s=within_s,
        )
    except DataRejected as error:
        journal.record_end(claimed, RunEnd(state="FAILED", at=clock.now(), error=f"not started: {error}"))
        raise
    at("after submit")
    return _record(journal, pipelines, claimed, [RunState(run_id=run_id, name=name, state="PENDING")], at=at)


def _record(
    journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, runs: Sequence[RunState], *, at: Hook
) -> ClaimedRun:
    """Record the oldest of the runs of this claim; any other is ended, for a run key stands for one run."""
    at("before record")
    claimed = journal.record_run(claimed, runs[0].run_id)
    at("after record")
    for run in runs:
        if run.run_id != claimed.run_id and not run.is_finished:
            log.warning("%s was submitted twice: terminating %s, keeping %s", run.name, run.run_id, claimed.run_id)
            pipelines.terminate(run.run_id)
    return claimed


def _settle_end(journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, *, now: datetime) -> ClaimedRun:
    assert claimed.run_id is not None
    try:
        run = pipelines.fetch_run(claimed.run_id)
    except NotFound as error:
        return journal.record_end(claimed, RunEnd(state="FAILED", at=now, error=str(error)))
    if not run.is_finished:
        return claimed
    end = RunEnd.model_validate({"state": run.state, "at": now, "error": run.error})
    return journal.record_end(claimed, end)
