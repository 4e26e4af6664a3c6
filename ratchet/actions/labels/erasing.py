"""Erase examples (the right to be forgotten): out of label shards, every dataset version, and what was logged.

Order, and why: the order is written down, then waiting labels go (so that no run takes them in), then the versions are
replaced in one push (their old files still there, so each tag pulls at any moment), then the old files go, then what
was logged of requests and what past runs left behind, then the record is written and the order forgotten. Each step
finds nothing to do when it was done before. By what the log knows the examples is noted before any row is rewritten.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ratchet.actions.labels.erased_inputs import with_digests
from ratchet.actions.labels.erasing_logs import Logs, erase_from_logs, erase_from_run_tables, find_in_logs
from ratchet.actions.labels.images import NO_SOURCE, ImageSource
from ratchet.adapters.parquet_shard import check_parquet
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import DataFile, Manifest
from ratchet.core.labels.erasure import (
    ErasureOrder,
    ErasureRecord,
    Removed,
    Scanned,
    Watch,
    counts_of,
    index_without,
    manifest_without,
    rows_without,
    shard_without,
    splits_of,
)
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.ports import DatasetStore, LabelStore
from ratchet.core.rollout.erased_lines import Erased
from ratchet.parallel import NUM_AT_ONCE, map_parallel
from ratchet.stores.erasures import Erasures
from ratchet.stores.example_signatures import ExampleSignatures
from ratchet.stores.findings import Findings
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.sketches import Sketches


@dataclass(frozen=True)
class Holders:
    """Everything that may hold an example."""

    labels: LabelStore
    datasets: DatasetStore
    erasures: Erasures
    sketches: Sketches
    findings: Findings
    signatures: ExampleSignatures
    journal: RunJournal
    """A run that is under way reads the files of its version by their old names."""
    list_trained: Callable[[str, frozenset[str]], Sequence[str]]
    """(task, dataset versions) to the models that were trained on one of them."""
    schema: ExampleSchema
    """Of the task: what the log knows an example by depends on it."""
    logs: Logs
    images: ImageSource = NO_SOURCE
    """Where the pictures lie that label lines name."""
    forget_cases: Callable[[frozenset[str]], Sequence[str]] = lambda _ids: ()
    """Takes pinned cases out of their file; names the file when that cannot be done."""


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
    read: dict[str, int] = {}

    def told(scanned: Scanned) -> None:
        read[scanned.what] = scanned.num_done
        watch(scanned)

    order = _erase_from_shards(holders, task, order, ids, told)
    order = _erase_from_versions(holders, task, order, ids, told)
    order = _erase_from_logs(holders, task, order, ids, told)
    left = erase_from_run_tables(holders.logs.tables, task, ids, told) if holders.logs.tables else ()
    left = (*left, *holders.forget_cases(ids))
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
        num_answers=order.num_answers or 0,
        num_feedback=order.num_feedback,
        read=read,
        unreadable=(*order.unreadable, *left),
    )
    holders.erasures.end(task, record)
    return record


def _erase_from_shards(
    holders: Holders, task: str, order: ErasureOrder, ids: frozenset[str], watch: Watch
) -> ErasureOrder:
    """Waiting labels, and those that versions were made of: else a lost verdict would bring them back."""
    keys = [shard.key for shard in holders.labels.list_shards(task)]
    found: dict[str, Removed] = {}
    unreadable = []
    for start in range(0, len(keys), NUM_AT_ONCE):
        some = keys[start : start + NUM_AT_ONCE]
        for key, each in zip(some, map_parallel(lambda key: _seen_in_shard(holders, key, ids), some), strict=True):
            if isinstance(each, DataRejected):
                unreadable.append(key)
            elif each is not None:
                found[key] = each
        watch(Scanned("label shards", min(start + NUM_AT_ONCE, len(keys)), len(keys)))
    order = order.model_copy(
        update={
            "lines_by_shard": {**{key: each.num_rows for key, each in found.items()}, **order.lines_by_shard},
            "digests": _joined(order.digests, found.values()),
            "unreadable": tuple(unreadable),
        }
    )
    # Noted before any line goes: a shard that is rewritten already tells neither number nor inputs any more.
    holders.erasures.note(task, order)
    for key in found:
        # Read again: a file larger than the others' sum need not stay in memory, and a shard may be gone since.
        removed = _shard_left(holders.labels, key, ids)
        if removed is not None:
            holders.labels.rewrite_shard(key, removed.data, counts_of(key, removed.data))
    return order


def _seen_in_shard(holders: Holders, key: str, ids: frozenset[str]) -> Removed | DataRejected | None:
    """What a shard holds of the examples, without the bytes that would be left of it."""
    try:
        removed = _shard_left(holders.labels, key, ids)
    except DataRejected as error:
        return error
    return removed and with_digests(removed, holders.schema, holders.images)._replace(data=b"")


def _shard_left(labels: LabelStore, key: str, ids: frozenset[str]) -> Removed | None:
    try:
        data = labels.fetch_shard(key)
    except NotFound:
        return None
    if key.endswith(".parquet"):
        check_parquet(data, where=key)
    return shard_without(key, data, ids)


def _joined(digests: Sequence[int], removed: Iterable[Removed]) -> tuple[int, ...]:
    return tuple(sorted({*digests, *(digest for each in removed for digest in each.digests)}))


def _erase_from_logs(
    holders: Holders, task: str, order: ErasureOrder, ids: frozenset[str], watch: Watch
) -> ErasureOrder:
    """Answers to the same inputs, and what was said of these answers."""
    erased = Erased(ids, frozenset(order.digests))
    found = find_in_logs(holders.logs, task, erased, holders.schema, watch)
    if order.num_answers is None:
        counts = {"num_answers": found.num_answers, "num_feedback": found.num_feedback}
        order = order.model_copy(update=counts)
        holders.erasures.note(task, order)
    erase_from_logs(holders.logs, erased, found, holders.schema)
    return order


def _erase_from_versions(
    holders: Holders, task: str, order: ErasureOrder, ids: frozenset[str], watch: Watch
) -> ErasureOrder:
    before = {manifest.version: manifest for manifest in holders.datasets.fetch_manifests(task)}
    removed = _files_left(holders, list(before.values()), ids, watch)
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
                "digests": _joined(order.digests, removed.values()),
            }
        )
        # Noted before the push: afterwards no tag names the files that are to go.
        holders.erasures.note(task, order)
        blobs = [left.data for left in removed.values() if left.data]
        holders.datasets.replace_versions(list(changed.values()), blobs, message=f"{task}: an erasure\n")
    holders.findings.forget(task)  # a version that was refused holds nothing, and has findings
    if order.versions:
        holders.sketches.forget(task)
        holders.signatures.forget(task)
    # Not before the push: until then the tags name these files.
    holders.datasets.delete_files([name for name in order.stale_files if name not in needed])
    return order


def _files_of(datasets: DatasetStore, manifests: Iterable[Manifest]) -> set[str]:
    return {name for manifest in manifests for name in datasets.list_files(manifest)}


def _files_left(
    holders: Holders, manifests: Sequence[Manifest], ids: frozenset[str], watch: Watch
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
        left = map_parallel(lambda file: _file_left(holders, file, ids, index), some)
        removed |= {file.md5: each for file, each in zip(some, left, strict=True) if each is not None}
        watch(Scanned("files of dataset versions", min(start + NUM_AT_ONCE, len(listed)), len(listed)))
    return removed


def _file_left(holders: Holders, file: DataFile, ids: frozenset[str], index: frozenset[str]) -> Removed | None:
    data = holders.datasets.fetch_shard(file)
    if file.md5 in index:
        return index_without(data, ids)
    removed = rows_without(data, ids)
    return removed and with_digests(removed, holders.schema, holders.images)
