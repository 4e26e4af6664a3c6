"""What of Ratchet's own records in S3 is due to be deleted. Pure: a listing and what is still needed in, URIs out.

Nothing that is younger than the policy says is due, and nothing that something live refers to.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.labels.shards import first_key_at, is_shard_key
from ratchet.core.layouts import RecordKind
from ratchet.core.models.ledger import LedgerEntry, champion_of, denied_digests_of, previous_of
from ratchet.core.ports import StoredObject


class RetentionPolicy(BaseModel):
    """How long records stay (configs/policies/retention.yaml). 0 days: permanently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    payload_days: float = Field(30, ge=0)
    """Days since the answer. What drift_monitor's window or an open rollout needs stays longer."""
    feedback_days: float = Field(90, ge=0)
    """Days since the true label arrived. It names a request, and says nothing without the request's payload."""
    rollout_days: float = Field(365, ge=0)
    """Days since the last write to a rollout's record: windows, evidence, orders, verdict."""
    rollout_num_min: int = Field(50, ge=0)
    """Newest records of a task that stay whatever their age."""
    rollout_num_max: int = Field(500, gt=0)
    """Newest records of a task beyond which older ones go, whatever `rollout_days` says: one has some 100 objects."""
    proof_days: float = Field(90, ge=0)
    """Days since a model server loaded a model. A proof that is gone costs 12 s when it is needed again."""
    decision_days: float = Field(365, ge=0)
    """Days since the guard decided on a rollback that the ledger has answered since."""
    refused_model_days: float = Field(0, ge=0)
    """Days since a canary was rolled back, after which the files of its model go. One that ever served stays."""
    refused_model_num_min: int = Field(20, ge=0)
    """The newest entries of a task's ledger: what they are about stays whatever its age."""


class Needed(NamedTuple):
    """What of one task is in use."""

    payloads_from: datetime
    """Answers from then on may be read."""
    rollouts: frozenset[str] = frozenset()
    """Run ids."""
    digests: frozenset[str] = frozenset()
    """Models."""
    newest_seq: int = 0
    """Of the ledger: the guard's decisions about earlier entries are carried out."""


OPEN_ROLLOUT_DAYS_MAX = 30.0
"""Payloads wait this long for a rollout without a verdict, in addition: one whose run died gets none."""
_ROLLOUT_AGE_MIN = timedelta(days=7)
"""However many there are: a run that was retried may go on with its record."""
_WINDOW_MARGIN = timedelta(days=1)
"""drift_monitor may begin late, and reads for minutes."""


def needed_of(
    entries: Sequence[LedgerEntry],
    *,
    current_run_id: str,
    open_model: str,
    open_since: datetime | None,
    window_s: float,
    now: datetime,
) -> Needed:
    """What one task uses: its champion, the model before it, the rollout under way, the monitor's window.

    current_run_id: the rollout that began last, "" before the first. open_model: digest of its model.
    open_since: when it began; None when it has a verdict.
    """
    served = [model for model in (champion_of(entries), previous_of(entries)) if model is not None]
    digests = {model.digest for model in served} | ({open_model} if open_model else set())
    rollouts = {entry.run_id for entry in entries if entry.model.digest in digests} | {current_run_id}
    payloads_from = now - timedelta(seconds=window_s) - _WINDOW_MARGIN
    return Needed(
        payloads_from=payloads_from if open_since is None else min(payloads_from, open_since),
        rollouts=frozenset(rollouts - {""}),
        digests=frozenset(digests),
        newest_seq=entries[-1].seq if entries else 0,
    )


PROGRESS_KEPT = timedelta(days=1)
"""Written over every few seconds while a training goes on, and removed at its end: one that is older was left by a run
whose machine was gone."""


def kept_from(kind: RecordKind, *, policy: RetentionPolicy, needed: Needed, now: datetime) -> datetime | None:
    """Records of this kind from then on stay; None when all do."""
    days = {
        "payloads": policy.payload_days,
        "feedback": policy.feedback_days,
        "rollouts": policy.rollout_days,
        "proofs": policy.proof_days,
        "guard": policy.decision_days,
        "models": policy.refused_model_days,
        "progress": PROGRESS_KEPT / timedelta(days=1),
    }[kind]
    if not days:
        return None
    oldest = now - timedelta(days=days)
    if kind != "payloads":
        return oldest
    return min(oldest, max(needed.payloads_from, oldest - timedelta(days=OPEN_ROLLOUT_DAYS_MAX)))


def plan_dated(
    listed: Iterable[StoredObject], *, folder_uri: str, task: str, before: datetime
) -> Iterator[StoredObject]:
    """Records under `folder_uri` + `<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl` that were put before then.

    The listing is in key order, and is read no further than to the first record that stays: O(what is old).
    """
    first_kept = first_key_at(task, before)
    for stored in listed:
        key = stored.uri.removeprefix(folder_uri)
        if key >= first_kept:
            return
        if is_shard_key(key, task):
            yield stored


def plan_rollouts(
    listed: Iterable[StoredObject],
    *,
    folder_uri: str,
    policy: RetentionPolicy,
    needed: Needed,
    before: datetime,
    now: datetime,
) -> Iterator[StoredObject]:
    """Whole records of rollouts, `<folder_uri><run id>/…`, whose newest object is older than `before`, or that are too
    many. The oldest come first.

    Of each `begin.json` comes first: a record that is half deleted is then none, not one that has lost its end.
    """
    records: dict[str, list[StoredObject]] = {}
    for stored in listed:
        run_id, slash, _ = stored.uri.removeprefix(folder_uri).partition("/")
        if slash:
            records.setdefault(run_id, []).append(stored)
    written_at = {run_id: max(stored.last_modified_at for stored in record) for run_id, record in records.items()}
    newest_first = sorted(records, key=lambda run_id: (written_at[run_id], run_id), reverse=True)
    for rank, run_id in reversed(list(enumerate(newest_first))):
        is_old = written_at[run_id] < before or rank >= policy.rollout_num_max
        is_spared = rank < policy.rollout_num_min or run_id in needed.rollouts
        if is_old and not is_spared and written_at[run_id] < now - _ROLLOUT_AGE_MIN:
            yield from sorted(records[run_id], key=lambda stored: not stored.uri.endswith("/begin.json"))


def plan_proofs(
    listed: Iterable[StoredObject], *, folder_uri: str, digests: frozenset[str], before: datetime
) -> Iterator[StoredObject]:
    """Old proofs, `<folder_uri><digest>/…`, of models that no task serves or may go back to."""
    for stored in listed:
        digest = stored.uri.removeprefix(folder_uri).partition("/")[0]
        if digest not in digests and stored.last_modified_at < before:
            yield stored


def plan_progress(listed: Iterable[StoredObject], *, now: datetime) -> Iterator[StoredObject]:
    """The progress of trainings that no longer tell any."""
    return (stored for stored in listed if stored.last_modified_at < now - PROGRESS_KEPT)


def plan_decisions(
    listed: Iterable[StoredObject], *, folder_uri: str, newest_seq: int, before: datetime
) -> Iterator[StoredObject]:
    """Old `rollback-<seq>.json` of the guard to which the ledger has an answer."""
    for stored in listed:
        seq = stored.uri.removeprefix(folder_uri).removeprefix("rollback-").removesuffix(".json")
        if seq.isdecimal() and int(seq) < newest_seq and stored.last_modified_at < before:
            yield stored


def plan_models(
    listed: Iterable[StoredObject],
    *,
    folder_uri: str,
    entries: Sequence[LedgerEntry],
    needed: Needed,
    policy: RetentionPolicy,
    before: datetime,
) -> Iterator[StoredObject]:
    """Files of a task's models, `<folder_uri><digest>/…`, that were rolled back before then and never served.

    Missing evidence deletes nothing: a model that the ledger does not name stays, and one without a verdict does too.
    """
    served = {entry.champion.digest for entry in entries if entry.champion is not None}
    newest = entries[max(0, len(entries) - policy.refused_model_num_min) :]
    spared = served | needed.digests | {entry.model.digest for entry in newest}
    refused_at = {entry.model.digest: entry.at for entry in entries}
    due = {digest for digest in denied_digests_of(entries) - spared if refused_at[digest] < before}
    for stored in listed:
        digest, slash, _ = stored.uri.removeprefix(folder_uri).partition("/")
        if slash and digest in due:
            yield stored
