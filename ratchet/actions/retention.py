"""Delete what of Ratchet's own records in S3 is over its time: a bounded number of objects a pass.

Killed between two deletes, the next pass finds the rest: what is due is derived from the listing each time, nothing is
written down. Two at once (two guards, a person) delete the same objects, which is harmless.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.layouts import RecordKind
from ratchet.core.ports import Ledger, ObjectStore, StoredObject
from ratchet.core.retention import (
    Needed,
    RetentionPolicy,
    kept_from,
    needed_of,
    plan_dated,
    plan_decisions,
    plan_models,
    plan_progress,
    plan_proofs,
    plan_rollouts,
)
from ratchet.core.rollout.monitor import MonitorPolicy
from ratchet.stores.rollout_record import RolloutRecords

log = logging.getLogger(__name__)

KINDS: tuple[RecordKind, ...] = get_args(RecordKind)
_FOLDERS_MAX = 1000


class TaskPolicies(NamedTuple):
    retention: RetentionPolicy
    monitor: MonitorPolicy


class Due(NamedTuple):
    """An object whose time is over."""

    kind: RecordKind
    stored: StoredObject


class Swept(BaseModel):
    """What one pass deleted."""

    model_config = ConfigDict(frozen=True)

    num: Mapping[RecordKind, int] = {}
    size_bytes: Mapping[RecordKind, int] = {}
    is_cut_off: bool = False
    """More was due than one pass may delete."""


@dataclass(frozen=True)
class RetentionPorts:
    objects: ObjectStore
    ledger: Ledger
    records: RolloutRecords
    folders: Mapping[RecordKind, str]
    """Where each kind lies."""
    list_tasks: Callable[[], Sequence[str]]
    policies_of: Callable[[str], TaskPolicies]
    """Of a task, or, for a name that is no task any more, those of the default files."""


def list_due(ports: RetentionPorts, *, now: datetime) -> Iterator[Due]:
    """All that is due, in the order in which it is to be deleted."""
    tasks = list(dict.fromkeys((*ports.list_tasks(), *_former_tasks(ports))))
    policies = {task: ports.policies_of(task) for task in tasks}
    needed = {task: fetch_needed(ports, task, policies[task], now=now) for task in tasks}
    for task in tasks:
        yield from _list_due_of_task(ports, task, policies[task].retention, needed[task], now=now)
    yield from _due("progress", plan_progress(ports.objects.list_objects(ports.folders["progress"]), now=now))
    if tasks:
        yield from _list_due_proofs(ports, [policies[task].retention for task in tasks], needed, now=now)


def sweep(ports: RetentionPorts, *, now: datetime, num_max: int) -> Swept:
    """One pass over at most `num_max` objects."""
    num, size_bytes = Counter[RecordKind](), Counter[RecordKind]()
    due = list_due(ports, now=now)
    for one in islice(due, num_max):
        ports.objects.delete(one.stored.uri)
        num[one.kind] += 1
        size_bytes[one.kind] += one.stored.size_bytes
    return Swept(num=num, size_bytes=size_bytes, is_cut_off=next(due, None) is not None)


def fetch_needed(ports: RetentionPorts, task: str, policies: TaskPolicies, *, now: datetime) -> Needed:
    """What the task uses now. A record that cannot be read stops the pass: missing evidence deletes nothing."""
    run_id, begin, is_open = "", None, False
    try:
        run_id = ports.records.fetch_current_run_id(task)
        is_open = not ports.records.has_verdict(task, run_id)
        begin = ports.records.fetch_begin(task, run_id)
    except NotFound:
        is_open = False  # no rollout ever began, or somebody removed its record
    except DataRejected as error:
        log.warning("%s: all that it may need is kept (%s)", task, error)
    long_ago = datetime.min.replace(tzinfo=now.tzinfo)
    return needed_of(
        ports.ledger.list_entries(task),
        current_run_id=run_id,
        open_model=begin.model.digest if begin else "",
        open_since=(begin.at if begin else long_ago) if is_open else None,
        window_s=policies.monitor.window_s,
        now=now,
    )


def _list_due_of_task(
    ports: RetentionPorts, task: str, policy: RetentionPolicy, needed: Needed, *, now: datetime
) -> Iterator[Due]:
    dated: tuple[RecordKind, ...] = ("payloads", "feedback")
    for kind in dated:
        if before := kept_from(kind, policy=policy, needed=needed, now=now):
            folder = ports.folders[kind]
            listed = ports.objects.list_objects(f"{folder}{task}/")
            yield from _due(kind, plan_dated(listed, folder_uri=folder, task=task, before=before))
    if before := kept_from("rollouts", policy=policy, needed=needed, now=now):
        folder = f"{ports.folders['rollouts']}{task}/"
        listed = ports.objects.list_objects(folder)
        planned = plan_rollouts(listed, folder_uri=folder, policy=policy, needed=needed, before=before, now=now)
        yield from _due("rollouts", planned)
    if before := kept_from("models", policy=policy, needed=needed, now=now):
        folder, entries = f"{ports.folders['models']}{task}/", ports.ledger.list_entries(task)
        listed = ports.objects.list_objects(folder)
        planned = plan_models(listed, folder_uri=folder, entries=entries, needed=needed, policy=policy, before=before)
        yield from _due("models", planned)
    if before := kept_from("guard", policy=policy, needed=needed, now=now):
        folder = f"{ports.folders['guard']}{task}/"
        listed = ports.objects.list_objects(folder)
        yield from _due("guard", plan_decisions(listed, folder_uri=folder, newest_seq=needed.newest_seq, before=before))


def _list_due_proofs(
    ports: RetentionPorts, policies: Sequence[RetentionPolicy], needed: Mapping[str, Needed], *, now: datetime
) -> Iterator[Due]:
    """Proofs belong to models, not to tasks: the longest retention of all tasks counts."""
    cuts = [kept_from("proofs", policy=policy, needed=next(iter(needed.values())), now=now) for policy in policies]
    known = [cut for cut in cuts if cut is not None]
    if len(known) < len(cuts):
        return
    folder = ports.folders["proofs"]
    digests = frozenset(digest for each in needed.values() for digest in each.digests)
    listed = ports.objects.list_objects(folder)
    yield from _due("proofs", plan_proofs(listed, folder_uri=folder, digests=digests, before=min(known)))


def _former_tasks(ports: RetentionPorts) -> Iterator[str]:
    """Tasks that have payloads or feedback, and may have no task file any more: one request for each."""
    dated: tuple[RecordKind, ...] = ("payloads", "feedback")
    for kind in dated:
        folder = ports.folders[kind]
        after = ""
        for _ in range(_FOLDERS_MAX):
            first = next(iter(ports.objects.list_uris(folder, start_after=after)), None)
            if first is None:
                break
            task, slash, _ = first.removeprefix(folder).partition("/")
            if slash:
                yield task
            # Behind the last key of the folder: SeaweedFS skips a whole folder that the marker is the name of.
            after = f"{folder}{task}/~" if slash else first


def _due(kind: RecordKind, planned: Iterable[StoredObject]) -> Iterator[Due]:
    return (Due(kind, stored) for stored in planned)
