"""The claims of every task: `s3://ratchet/runs/<task>/<seq:08d>/`, each part written once with `If-None-Match: *`.

- `claim.json`: who may start the run with this run key. Claim `seq` is written only when claim `seq - 1` has ended, so
  the journal allows one run at a time, whoever asks: the sensor, its second replica, a person, a schedule of KFP.
- `lease-<n>.json`: who may submit it. The claim is lease 0; whoever has watched the newest lease for LEASE_S by his own
  monotonic clock, and does not find the run in KFP by its name, takes the next one. No two clocks are compared.
- `run.json`: the one run of this claim, whoever writes it first: the submitter, whoever follows up, or the run itself.
  Only that run has effect. Nobody's run id in it means that there never will be one.
- `end.json`: how the run ended, as first seen; it outlives KFP's memory of the run.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, TypeVar

from pydantic import BaseModel

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.layouts import Layout
from ratchet.core.ports import Clock
from ratchet.core.runs import RETRAIN, RunEnd, Trigger
from ratchet.core.runs.outcome import Outcome
from ratchet.stores.layout import Store
from ratchet.stores.run_claims import AdoptedRun, ClaimedRun, Lease, RunClaim, SubmittedRun
from ratchet.stores.run_outcomes import RunOutcomes

LEASE_S = 30.0
"""How long an owner may take to submit. Longer than all timeouts of one submission together."""
Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True)
class RunJournal(Store):
    """What a process knows of the claims is a cache: parts never change, so only what is new is read.

    Threads may share it that look at different tasks.
    """

    layout: ClassVar[Layout] = "runs"
    lease_s: float = LEASE_S
    _newest_seq: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: dict[str, dict[int, ClaimedRun]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _watched: dict[str, tuple[tuple[int, int], float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """By task: the newest lease, and since when this process knows it by its own clock."""

    def fetch_newest(self, task: str) -> ClaimedRun | None:
        """One listing, and what it shows that was not known before."""
        known_seq = self._newest_seq.get(task)
        low = self._find_newest_seq(task) if known_seq is None else known_seq
        parts_of = self._list_parts(task, from_seq=low)
        if not parts_of:
            if known_seq:
                self._forget(task)
                return self.fetch_newest(task)
            self._newest_seq[task] = 0
            return None
        newest = max(parts_of)
        self._newest_seq[task] = newest
        return self._fetch(task, newest, parts_of[newest])

    def list_since(self, task: str, *, newest: ClaimedRun | None, since: datetime) -> Iterator[ClaimedRun]:
        """Claims from the newest back to the first that was made before `since`; the ended ones are read once."""
        if newest is None:
            return
        claimed = newest
        while claimed.claim.claimed_at >= since:
            yield claimed
            seq = claimed.claim.seq - 1
            if seq == 0:
                return
            known = self._known[task].get(seq)
            try:
                claimed = known if known is not None and known.end is not None else self._fetch_listed(task, seq)
            except NotFound:  # somebody tidied up: older claims are gone as well
                return
        for seq in [seq for seq in self._known[task] if seq < claimed.claim.seq]:
            del self._known[task][seq]

    def find_training(self, newest: ClaimedRun | None) -> ClaimedRun | None:
        """The newest claim of a training at or before this one; a rollout trains on nothing. None without any."""
        claimed = newest
        while claimed is not None and claimed.claim.trigger.pipeline != RETRAIN:
            task, seq = claimed.claim.trigger.task, claimed.claim.seq - 1
            known = self._known.get(task, {}).get(seq)
            try:
                claimed = known if known is not None and known.end is not None else self._fetch_listed(task, seq)
            except NotFound:  # the first claim, or older ones were tidied up
                return None
        return claimed

    def append_claim(
        self, trigger: Trigger, *, after: ClaimedRun | None, clock: Clock, adopted: AdoptedRun | None = None
    ) -> ClaimedRun:
        """Conflict when somebody else claimed the place after `after`."""
        assert after is None or after.end is not None, f"{after.claim.run_name} has not ended" if after else ""
        seq = after.claim.seq + 1 if after else 1
        claim = RunClaim(seq=seq, owner=uuid.uuid4().hex, claimed_at=clock.now(), trigger=trigger, adopted=adopted)
        seen_at_s = clock.elapsed_s()
        self._put(trigger.task, seq, "claim", claim)
        claimed = _claimed_of(claim)
        self._watched[trigger.task] = (_lease_id(claimed), seen_at_s)
        return claimed

    def watched_s(self, claimed: ClaimedRun, *, clock: Clock) -> float:
        """For how long this process has known this lease as the newest one, by its own clock.

        Its owner counts from before he took it, everybody else from when they first saw it.
        """
        task = claimed.claim.trigger.task
        lease_id, seen_at_s = self._watched.get(task, (None, 0.0))
        if lease_id != _lease_id(claimed):
            seen_at_s = clock.elapsed_s()
            self._watched[task] = (_lease_id(claimed), seen_at_s)
        return clock.elapsed_s() - seen_at_s

    def take_lease(self, claimed: ClaimedRun, *, clock: Clock) -> ClaimedRun:
        """Conflict when somebody else took it."""
        task = claimed.claim.trigger.task
        lease = Lease(number=claimed.lease.number + 1, owner=uuid.uuid4().hex, taken_at=clock.now())
        seen_at_s = clock.elapsed_s()
        self._put(task, claimed.claim.seq, _lease_part(lease.number), lease)
        taken = claimed.model_copy(update={"lease": lease})
        self._watched[task] = (_lease_id(taken), seen_at_s)
        return taken

    def may_submit(self, claimed: ClaimedRun) -> bool:
        """Whether, as the journal says now, nobody took the lease on, recorded a run or closed the claim."""
        parts = self._list_parts(claimed.claim.trigger.task, from_seq=claimed.claim.seq)
        own = {"claim", *(_lease_part(number) for number in range(1, claimed.lease.number + 1))}
        return {claimed.claim.seq: own} == parts

    def record_run(self, claimed: ClaimedRun, run_id: str, *, error: str = "") -> ClaimedRun:
        """The first run id that was recorded stays; the answer holds it."""
        task, seq = claimed.claim.trigger.task, claimed.claim.seq
        run = SubmittedRun(run_id=run_id, error=error)
        try:
            self._put(task, seq, "run", run)
        except Conflict:
            run = self._fetch_part(task, seq, "run", SubmittedRun)
        return claimed.model_copy(update={"run_id": run.run_id, "error": run.error})

    def record_end(self, claimed: ClaimedRun, end: RunEnd) -> ClaimedRun:
        """The first to see it end is believed: all saw the same run."""
        task, seq = claimed.claim.trigger.task, claimed.claim.seq
        try:
            self._put(task, seq, "end", end)
        except Conflict:
            end = self._fetch_part(task, seq, "end", RunEnd)
        return claimed.model_copy(update={"end": end})

    def fetch_outcome(self, run_id: str) -> Outcome | None:
        """What a run that ended came to, as its `notify` wrote it down; None when it did not."""
        return RunOutcomes(self.objects, self.bucket).fetch_outcome(run_id)

    def _fetch_listed(self, task: str, seq: int) -> ClaimedRun:
        folder = f"{self._folder(task, seq)}/"
        uris = self.objects.list_uris(folder)
        return self._fetch(task, seq, {uri.removeprefix(folder).removesuffix(".json") for uri in uris})

    def _fetch(self, task: str, seq: int, parts: set[str]) -> ClaimedRun:
        known = self._known.setdefault(task, {})
        claimed = known.get(seq) or _claimed_of(self._fetch_part(task, seq, "claim", RunClaim))
        found: dict[str, object] = {}
        leases = [part for part in parts if part.startswith("lease-")]
        if leases and max(leases) != _lease_part(claimed.lease.number):
            found["lease"] = self._fetch_part(task, seq, max(leases), Lease)
        if "run" in parts and claimed.run_id is None:
            run = self._fetch_part(task, seq, "run", SubmittedRun)
            found |= {"run_id": run.run_id, "error": run.error}
        if "end" in parts and claimed.end is None:
            found["end"] = self._fetch_part(task, seq, "end", RunEnd)
        known[seq] = claimed = claimed.model_copy(update=found)
        return claimed

    def _find_newest_seq(self, task: str) -> int:
        """The journal has no holes, so doubling steps and then halves find its end in O(log n) looks."""
        low = 0
        step = 1
        while self._has_claim(task, low + step):
            low, step = low + step, step * 2
        while step > 1:
            step //= 2
            if self._has_claim(task, low + step):
                low += step
        return low

    def _forget(self, task: str) -> None:
        """Somebody removed the journal: what is known of it is not true any more."""
        del self._newest_seq[task]
        self._watched.pop(task, None)
        self._known.pop(task, None)

    def _has_claim(self, task: str, seq: int) -> bool:
        return self.objects.exists(f"{self._folder(task, seq)}/claim.json")

    def _list_parts(self, task: str, *, from_seq: int) -> dict[int, set[str]]:
        """The parts of each claim from `from_seq` on. A folder without a claim is none.

        The listing begins behind the folder before: SeaweedFS skips a whole folder that the marker is the name of.
        """
        root = self._uri(task, "")
        parts: dict[int, set[str]] = {}
        # `~` sorts behind every part of the claim before, which is a word in small letters.
        for uri in self.objects.list_uris(root, start_after=f"{self._folder(task, max(from_seq - 1, 0))}/~"):
            seq, _, part = uri.removeprefix(root).removesuffix(".json").partition("/")
            if seq.isdecimal():
                parts.setdefault(int(seq), set()).add(part)
        return {seq: found for seq, found in parts.items() if "claim" in found}

    def _put(self, task: str, seq: int, part: str, value: BaseModel) -> None:
        self.objects.put_if_absent(f"{self._folder(task, seq)}/{part}.json", value.model_dump_json().encode())

    def _fetch_part(self, task: str, seq: int, part: str, kind: type[Part]) -> Part:
        return kind.model_validate_json(self.objects.fetch(f"{self._folder(task, seq)}/{part}.json"))

    def _folder(self, task: str, seq: int) -> str:
        return self._uri(task, f"{seq:08d}")


def _claimed_of(claim: RunClaim) -> ClaimedRun:
    lease = Lease(number=0, owner=claim.owner, taken_at=claim.claimed_at)
    return ClaimedRun(claim=claim, lease=lease, run_id=claim.adopted.run_id if claim.adopted else None)


def _lease_id(claimed: ClaimedRun) -> tuple[int, int]:
    return claimed.claim.seq, claimed.lease.number


def _lease_part(number: int) -> str:
    return f"lease-{number:08d}"
