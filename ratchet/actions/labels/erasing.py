"""Erase examples (the right to be forgotten): out of label shards, every dataset version, and what was logged.

Order, and why: the order is written down, then waiting labels go (so that no run takes them in), then the versions are
replaced in one push (their old files still there, so each tag pulls at any moment), then the old files go, then the
record is written and the order forgotten. Each step finds nothing to do when it was done before.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.labels.dataset import DataFile, Manifest
from ratchet.core.labels.erasure import (
    ErasureOrder,
    ErasureRecord,
    Removed,
    counts_of,
    index_without,
    manifest_without,
    rows_without,
    shard_without,
    splits_of,
)
from ratchet.core.ports import DatasetStore, LabelStore
from ratchet.parallel import NUM_AT_ONCE, map_parallel
from ratchet.stores.erasures import Erasures
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.sketches import Sketches


@dataclass(frozen=True)
class Holders:
    """Everything that may hold an example."""

    labels: LabelStore
    datasets: DatasetStore
    erasures: Erasures
    sketches: Sketches
    journal: RunJournal
    """A run that is under way reads the files of its version by their old names."""
    list_trained: Callable[[str, frozenset[str]], Sequence[str]]
    """(task, dataset versions) to the models that were trained on one of them."""


class Scanned(NamedTuple):
    """What is looked at, for a progress bar."""

    what: str
    num_done: int
    num: int


Watch = Callable[[Scanned], None]


def erase(
    holders: Holders, task: str, order: ErasureOrder, *, now: Callable[[], datetime], watch: Watch
) -> ErasureRecord:
    """Erase these examples. Conflict while another erasure of the task is under way (`resume`), or a run."""
    newest = holders.journal.fetch_newest(task)
    if newest is not None and newest.end is None:
        raise Conflict(
            f"Run {newest.claim.run_name} of {task!r} is under way and reads what would be erased. Wait for its end, "
            "or end it with `ratchet runs terminate`."
        )
    holders.erasures.begin(task, order)
    record = resume(holders, task, now=now, watch=watch)
    assert record is not None
    return record


def resume(holders: Holders, task: str, *, now: Callable[[], datetime], watch: Watch) -> ErasureRecord | None:
    """Complete the erasure that is under way; None when there is none."""
    order = holders.erasures.fetch_under_way(task)
    if order is None:
        return None
    ids = frozenset(order.ids)
    order = _erase_from_shards(holders, task, order, ids, watch)
    order = _erase_from_versions(holders, task, order, ids, watch)
    record = ErasureRecord(
        seq=order.seq,
        num_ids=len(order.ids),
        num_lines=sum(order.lines_by_shard.values()),
        num_rows=order.num_rows,
        by=order.by,
        reason=order.reason,
        at=order.at,
        ended_at=now(),
        versions=order.versions,
        models=tuple(holders.list_trained(task, frozenset(order.versions))),
    )
    holders.erasures.end(task, record)
    return record


def _erase_from_shards(
    holders: Holders, task: str, order: ErasureOrder, ids: frozenset[str], watch: Watch
) -> ErasureOrder:
    """Waiting labels, and those that versions were made of: else a lost verdict would bring them back."""
    keys = [shard.key for shard in holders.labels.list_shards(task)]
    found: dict[str, int] = {}
    for start in range(0, len(keys), NUM_AT_ONCE):
        some = keys[start : start + NUM_AT_ONCE]
        left = map_parallel(lambda key: _shard_left(holders.labels, key, ids), some)
        found |= {key: each.num_rows for key, each in zip(some, left, strict=True) if each is not None}
        watch(Scanned("label shards", min(start + NUM_AT_ONCE, len(keys)), len(keys)))
    order = order.model_copy(update={"lines_by_shard": {**found, **order.lines_by_shard}})
    # Noted before any line goes: a shard that is rewritten already tells no number any more.
    holders.erasures.note(task, order)
    for key in found:
        # Read again: a file larger than the others' sum need not stay in memory, and a shard may be gone since.
        removed = _shard_left(holders.labels, key, ids)
        if removed is not None:
            holders.labels.rewrite_shard(key, removed.data, counts_of(key, removed.data))
    return order


def _shard_left(labels: LabelStore, key: str, ids: frozenset[str]) -> Removed | None:
    try:
        return shard_without(key, labels.fetch_shard(key), ids)
    except NotFound:
        return None


def _erase_from_versions(
    holders: Holders, task: str, order: ErasureOrder, ids: frozenset[str], watch: Watch
) -> ErasureOrder:
    before = {manifest.version: manifest for manifest in holders.datasets.fetch_manifests(task)}
    removed = _files_left(holders.datasets, list(before.values()), ids, watch)
    changed = {
        version: left
        for version, manifest in before.items()
        if (left := manifest_without(manifest, removed)) is not None
    }
    needed = _files_of(holders.datasets, {**before, **changed}.values())
    if changed:
        newest = list(changed)[-1]
        stale = _files_of(holders.datasets, before.values()) - needed
        order = order.model_copy(
            update={
                "versions": tuple(changed),
                "num_rows": changed[newest].erased - before[newest].erased,
                "stale_files": tuple(sorted({*order.stale_files, *stale})),
            }
        )
        # Noted before the push: afterwards no tag names the files that are to go.
        holders.erasures.note(task, order)
        blobs = [left.data for left in removed.values() if left.data]
        holders.datasets.replace_versions(list(changed.values()), blobs, message=f"{task}: an erasure\n")
    if order.versions:
        holders.sketches.forget(task)
    # Not before the push: until then the tags name these files.
    holders.datasets.delete_files([name for name in order.stale_files if name not in needed])
    return order


def _files_of(datasets: DatasetStore, manifests: Iterable[Manifest]) -> set[str]:
    return {name for manifest in manifests for name in datasets.list_files(manifest)}


def _files_left(
    datasets: DatasetStore, manifests: Sequence[Manifest], ids: frozenset[str], watch: Watch
) -> dict[str, Removed]:
    """By md5, what is left of each file that holds one of the examples. Each file is read once, whoever names it."""
    splits = splits_of(ids)
    files: dict[str, DataFile] = {}
    for manifest in manifests:
        shards = (shard for shard in manifest.shards if shard.split in splits)
        files |= {file.md5: file for file in (*shards, *manifest.index, *manifest.overlays)}
    listed = list(files.values())
    index = frozenset(file.md5 for manifest in manifests for file in manifest.index)
    removed: dict[str, Removed] = {}
    for start in range(0, len(listed), NUM_AT_ONCE):
        some = listed[start : start + NUM_AT_ONCE]
        left = map_parallel(lambda file: _file_left(datasets, file, ids, index), some)
        removed |= {file.md5: each for file, each in zip(some, left, strict=True) if each is not None}
        watch(Scanned("files of dataset versions", min(start + NUM_AT_ONCE, len(listed)), len(listed)))
    return removed


def _file_left(datasets: DatasetStore, file: DataFile, ids: frozenset[str], index: frozenset[str]) -> Removed | None:
    data = datasets.fetch_shard(file)
    return index_without(data, ids) if file.md5 in index else rows_without(data, ids)
