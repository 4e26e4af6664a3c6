"""The labelers of a task: what the stored opinions and the verdicts about them say of each."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.judged_shards import find_judged
from ratchet.actions.labels.labelled import newest_shards
from ratchet.actions.labels.memory import TaskMemory
from ratchet.actions.labels.quarantine import fetch_verdicts, quarantine_of
from ratchet.actions.labels.reading import opinion_columns, read_opinions
from ratchet.actions.labels.rows import fetch_overlays
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.corrections import joined_overlays
from ratchet.core.labels.quality import QualityPolicy
from ratchet.core.labels.reliability.labelers import Differences, LabelerRow, LabelHistory, differences_of, labelers_of
from ratchet.core.labels.reliability.queued import QueueReport, measure_queue
from ratchet.core.labels.schema import ExampleSchema
from ratchet.parallel import NUM_AT_ONCE, map_parallel
from ratchet.tasks.spec import TaskSpec
from wire.printable import listed, printable

OPINIONS_READ_MAX = 1_000_000
"""The newest ones; a compressed file may hold many more than its size says."""

Watch = Callable[[int, int], None]
"""(shards done, all of them)."""


class StoredOpinions(NamedTuple):
    """What was read of the label shards of a task, the newest ones, and what was not."""

    said: pa.Table
    """`reading.OPINION_COLUMNS`, shard."""
    num_shards: int
    num_bytes: int
    num_shards_left: int
    """Older ones, beyond 128 MiB or 1,000,000 opinions."""
    num_shards_unreadable: int


class Labelers(NamedTuple):
    """Of one task."""

    task: str
    opinions: StoredOpinions
    rows: tuple[LabelerRow, ...]
    queued: QueueReport | None
    """Of the opinions on examples from a queue; None: there is none."""


def list_labelers(stores: LabelStores, spec: TaskSpec, policy: QualityPolicy, *, watch: Watch) -> Labelers:
    """Every labeler with opinions in the newest label shards. Reads at most 128 MiB of shards, the corrections of the
    newest accepted version, and a verdict a version."""
    opinions = read_stored_opinions(stores, spec.examples, task=spec.name, watch=watch)
    verdicts = fetch_verdicts(stores, task=spec.name)
    records = [each.record for each in quarantine_of(verdicts, stores.orders.list(spec.name))]
    history = LabelHistory(
        overlay=_fetch_overlay(stores, task=spec.name),
        held=frozenset(record.place for record in records if record.state != "accepted"),
        verdicts=verdicts,
    )
    rows = labelers_of(opinions.said, history, spec.output, policy, reviewers=spec.reviewers)
    queued = measure_queue(opinions.said, spec.output, num_min=policy.num_shared_min)
    return Labelers(spec.name, opinions, rows, queued)


def differences_from_others(found: Labelers, spec: TaskSpec, name: str) -> Differences:
    return differences_of(found.opinions.said, name, spec.output)


def unknown_labeler(name: str, found: list[Labelers]) -> NotFound:
    """With the names that are nearest, or some that exist."""
    known = sorted({row.labeler for each in found for row in each.rows})
    tasks = " and ".join(each.task for each in found)
    folded = {each.casefold(): each for each in known}
    near = [folded[each] for each in get_close_matches(name.casefold(), folded, n=5, cutoff=0.5)]
    hint = f"near: {listed(near)}" if near else f"known: {listed(known) or 'none'}"
    return NotFound(
        f"There is no opinion of labeler {printable(name, chars_max=80)!r} in the label shards of {tasks}; {hint}. "
        "`ratchet labelers list` shows all labelers."
    )


def read_stored_opinions(stores: LabelStores, schema: ExampleSchema, *, task: str, watch: Watch) -> StoredOpinions:
    """The newest label shards, some at a time; one that cannot be read holds no opinion."""
    kind = opinion_columns(schema).append(pa.field("shard", pa.string()))
    shards, num_left = newest_shards(stores.labels.list_shards(task))
    tables: list[pa.Table] = []
    num_read = num_bytes = num_opinions = num_unreadable = 0
    for key, table, size in _read(stores, [shard.key for shard in reversed(shards)], schema.without_limits):
        num_read += 1
        num_bytes += size
        watch(num_read, len(shards))
        if table is None:
            num_unreadable += 1
            continue
        shard = pa.array([key], pa.string()).take(pa.array(np.zeros(table.num_rows, dtype=np.int8)))
        tables.append(pa.table([*table.columns, shard], schema=kind))
        num_opinions += table.num_rows
        if num_opinions >= OPINIONS_READ_MAX:
            break
    num_left += len(shards) - num_read
    whole = pa.concat_tables(tables[::-1]) if tables else kind.empty_table()
    return StoredOpinions(whole, num_read - num_unreadable, num_bytes, num_left, num_unreadable)


def _read(stores: LabelStores, keys: list[str], schema: ExampleSchema) -> Iterator[tuple[str, pa.Table | None, int]]:
    """(key, opinions or None, bytes)."""
    for start in range(0, len(keys), NUM_AT_ONCE):
        some = keys[start : start + NUM_AT_ONCE]
        for key, data in zip(some, map_parallel(lambda key: _fetched(stores, key), some), strict=True):
            if data is None:
                continue
            try:
                yield key, read_opinions(key, data, schema=schema), len(data)
            except DataRejected:
                yield key, None, len(data)


def _fetched(stores: LabelStores, key: str) -> bytes | None:
    try:
        return stores.labels.fetch_shard(key)
    except NotFound:  # erased since it was listed
        return None


def _fetch_overlay(stores: LabelStores, *, task: str) -> pa.Table | None:
    accepted = find_judged(TaskMemory(), stores, task=task).accepted
    if accepted is None:
        return None
    manifest = stores.datasets.fetch_manifest(accepted.version)
    return joined_overlays(fetch_overlays(stores.datasets, manifest)[::-1])
