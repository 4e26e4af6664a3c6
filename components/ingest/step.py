"""New label shards become a dataset version: read, settled, split, indexed, committed.

Costs O(new labels), but for the index of known examples: 20 bytes a label are read (0.1 s for a million). Reading ids
from the shards themselves would read all features.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.reading import label_schema_of, read_shard
from ratchet.actions.labels.rows import check_sizes
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.agreement import Opinion, settle_labels
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.dataset import (
    DataFile,
    DatasetShard,
    Manifest,
    md5_of,
    plan_index_merge,
    version_name,
    version_number,
)
from ratchet.core.labels.known import KnownExamples, rows_in_question
from ratchet.core.labels.measured import IngestNotes, RejectedShard
from ratchet.core.labels.shards import SPLITS, Label, features_digest_of, id_digest_of, split_of
from ratchet.core.labels.tables import INCOMING, INDEX, ROWS, as_rows, columns_of, parquet_of, table_of
from ratchet.core.ports import DatasetStore, LabelStore
from ratchet.tasks.spec import TaskSpec

REFERENCE_ROWS_MAX = 10_000
REFERENCE_SHARDS_MAX = 64
SHARD_ROWS_MAX = 20_000
"""Nobody who wants 10,000 rows of the reference has to read many more: 10 MB of 64 features."""
_NUM_THREADS = 8

log = logging.getLogger(__name__)


class Paths(NamedTuple):
    """Where the step writes what the next steps read."""

    incoming: str
    """Parquet `INCOMING`: every readable opinion of this batch."""
    reference: str
    """Parquet `ROWS`: training rows of the parent, the newest shards first."""
    manifest: str
    rejected: str
    """JSON of `core.quality.IngestNotes`: shards that could not be read, and what came back from quarantine."""


class Row(NamedTuple):
    """One opinion, with what it is compared to."""

    label: Label
    shard: str
    known_label: str | None
    known_twin_split: str | None


def ingest_step(spec: TaskSpec, *, run_key: str, stores: LabelStores, paths: Paths) -> tuple[str, int]:
    """Make a version of what is pending; gives its name and the number of new examples.

    Safe to repeat: its only effect is the version, one commit with its tag. An attempt that was killed after it left a
    version that nobody judged; the next one takes that version when it holds the same, and else makes one of its own.
    With nothing pending it is the newest accepted version and 0: a deliberate retraining on the same data.
    DataRejected when there is no data at all.
    """
    pending = list_pending(stores, task=spec.name, is_counted=False)
    parent = stores.datasets.fetch_manifest(pending.accepted.version) if pending.accepted else None
    reference = _fetch_reference(spec, parent, stores.datasets)
    for key in pending.from_future:
        log.warning("label shard %s is left alone: its key is not that of the time at which it landed", key)
    if pending.shards:
        manifest, rows, rejected = _make_version(spec, pending, parent, stores)
    elif parent is not None:
        manifest, rows, rejected = parent, [], ()
    else:
        raise DataRejected(
            f"There are no labels of {spec.name!r}. `ratchet labels push FILE --task {spec.name}` adds some."
        )
    num_new = manifest.num_labels - (parent.num_labels if parent else 0)
    log.info(
        "run %s: %s holds %d new examples, %d shards cannot be read", run_key, manifest.version, num_new, len(rejected)
    )
    _write(paths.incoming, parquet_of(columns_of(map(_incoming_row, rows), INCOMING), INCOMING))
    _write(paths.reference, parquet_of({name: reference[name].to_pylist() for name in ROWS.names}, ROWS))
    _write(paths.manifest, manifest.model_dump_json(indent=1).encode())
    _write(paths.rejected, _notes_of(pending, rejected).model_dump_json().encode())
    return manifest.version, num_new


def _make_version(
    spec: TaskSpec, pending: Backlog, parent: Manifest | None, stores: LabelStores
) -> tuple[Manifest, list[Row], Sequence[RejectedShard]]:
    labels, rejected = _read_shards(spec, pending, stores.labels)
    indexes = [_read_table(file, stores.datasets) for file in (parent.index if parent else ())]
    rows = _compared(labels, indexes)
    examples = _new_examples(rows)
    number = max(map(version_number, stores.datasets.list_versions(spec.name)), default=0) + 1
    version = version_name(spec.name, number)
    files: dict[str, bytes] = {}
    manifest = Manifest(
        version=version,
        parent=parent.version if parent else None,
        num_labels=(parent.num_labels if parent else 0) + len(examples),
        num_labels_by_class=_counted(examples, parent),
        watermark=pending.last_key,
        shards=(*(parent.shards if parent else ()), *_shards_of(examples, number, files)),
        index=_index_of(examples, number, parent, indexes, files),
    )
    unjudged = _newest_unjudged(spec.name, stores)
    if unjudged is not None and unjudged.content == manifest.content:
        log.info("%s holds the same labels and was never judged: an earlier attempt made it", unjudged.version)
        return unjudged, rows, rejected
    stores.datasets.commit_version(manifest, files)
    return manifest, rows, rejected


def _newest_unjudged(task: str, stores: LabelStores) -> Manifest | None:
    """The newest version, when a run made it and died before `validate` said anything of it."""
    versions = stores.datasets.list_versions(task)
    if not versions or stores.verdicts.fetch(versions[-1]) is not None:
        return None
    return stores.datasets.fetch_manifest(versions[-1])


def _read_shards(
    spec: TaskSpec, pending: Backlog, store: LabelStore
) -> tuple[list[tuple[str, Label]], list[RejectedShard]]:
    """The labels of all shards; one that cannot be read stands aside and does not hold up the others."""
    schema = label_schema_of(spec, with_range=False)
    labels: list[tuple[str, Label]] = []
    rejected = []
    keys = [shard.key for shard in pending.shards]

    def fetch(key: str) -> bytes | NotFound:
        try:
            return store.fetch_shard(key)
        except NotFound as error:  # deleted since it was listed
            return error

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for key, data in zip(keys, threads.map(fetch, keys), strict=True):
            try:
                if isinstance(data, NotFound):
                    raise data
                read = ((key, label) for label in read_shard(key, data, schema=schema))
                labels += (each for each in read if pending.is_wanted(key, each[1].labeler))
            except (DataRejected, NotFound) as error:
                rejected.append(RejectedShard.of(key, error))
                log.warning("label shard cannot be read: %s", rejected[-1].reason)
    return labels, rejected


def _compared(labels: Sequence[tuple[str, Label]], indexes: Sequence[pa.Table]) -> list[Row]:
    """Each opinion beside what the parent version knows of its id and of its features."""
    digests = [(id_digest_of(label.id), features_digest_of(label.features or ())) for _, label in labels]
    ids_B, features_B = np.array(digests, dtype=np.uint64).reshape(-1, 2).T
    known = KnownExamples()
    for index in indexes:
        found = index.take(
            rows_in_question(
                index["id_digest"].to_numpy(), index["features_digest"].to_numpy(), ids_B=ids_B, features_B=features_B
            )
        )
        known.add(
            id_digests=found["id_digest"].to_pylist(),
            features_digests=found["features_digest"].to_pylist(),
            labels=found["label"].to_pylist(),
        )
    return [
        Row(label, shard, known.label_of(of_id), known.twin_split_of(of_features, id_digest=of_id))
        for (shard, label), (of_id, of_features) in zip(labels, digests, strict=True)
    ]


def _new_examples(rows: Sequence[Row]) -> list[Label]:
    """One label of each new id, in the order of ids: the majority's.

    Ties are not learned. An id that the parent holds is not added again, with whatever label: shards are immutable,
    so the first accepted label stays, and what others say of it later is evidence about them.
    """
    unknown = [row for row in rows if row.known_label is None]
    settled = settle_labels([opinion_of(row.label, row.shard) for row in unknown])
    by_place = {(row.label.id, row.label.labeler, row.label.labeled_at, row.shard): row.label for row in unknown}
    places = ((said.id, said.labeler, said.labeled_at, said.shard) for _, said in sorted(settled.items()))
    return [by_place[place] for place in places]


def opinion_of(label: Label, shard: str) -> Opinion:
    return Opinion(id=label.id, label=label.label, labeler=label.labeler, labeled_at=label.labeled_at, shard=shard)


def _counted(examples: Sequence[Label], parent: Manifest | None) -> dict[str, int]:
    counts = Counter(parent.num_labels_by_class if parent else {})
    counts.update(example.label for example in examples)
    return dict(sorted(counts.items()))


def _shards_of(examples: Sequence[Label], number: int, files: dict[str, bytes]) -> list[DatasetShard]:
    """Parquet shards of each split that has rows; the bytes go into `files`."""
    shards = []
    for split in SPLITS:
        rows = [_columns_of_label(example) for example in examples if split_of(example.id) == split]
        for part, start in enumerate(range(0, len(rows), SHARD_ROWS_MAX)):
            some = rows[start : start + SHARD_ROWS_MAX]
            name = f"v{number}-{split}" + (f"-{part}" if part else "")
            file = _add_file(f"shards/{name}.parquet", parquet_of(columns_of(some, ROWS), ROWS), len(some), files)
            shards.append(DatasetShard(**file.model_dump(), split=split))
    return shards


def _index_of(
    examples: Sequence[Label],
    number: int,
    parent: Manifest | None,
    indexes: Sequence[pa.Table],
    files: dict[str, bytes],
) -> tuple[DataFile, ...]:
    """The index files of the new version: those of the parent, the last ones merged with the new examples."""
    old = parent.index if parent else ()
    if not examples:
        return old
    num_merged = plan_index_merge([file.num_rows for file in old], len(examples))
    kept = len(old) - num_merged
    columns: dict[str, list[Any]] = {
        "id_digest": [id_digest_of(example.id) for example in examples],
        "features_digest": [features_digest_of(example.features or ()) for example in examples],
        "label": [example.label for example in examples],
    }
    for table in indexes[kept:]:
        for name in INDEX.names:
            columns[name] += table[name].to_pylist()
    data = parquet_of(columns, INDEX)
    return (*old[:kept], _add_file(f"shards/v{number}-index.parquet", data, len(columns["label"]), files))


def _add_file(path: str, data: bytes, num_rows: int, files: dict[str, bytes]) -> DataFile:
    files[path] = data
    return DataFile(path=path, num_rows=num_rows, sha256=digest_of_bytes(data), md5=md5_of(data))


def _fetch_reference(spec: TaskSpec, parent: Manifest | None, datasets: DatasetStore) -> pa.Table:
    """Up to 10,000 training rows of the parent, newest shards first; no rows without a parent.

    DataRejected when they have another number of features than the task: before a version is made of both.
    """
    shards = [shard for shard in reversed(parent.shards if parent else ()) if shard.split == "train"]
    tables: list[pa.Table] = []
    for shard in shards[:REFERENCE_SHARDS_MAX]:
        if sum(table.num_rows for table in tables) >= REFERENCE_ROWS_MAX:
            break
        table = _read_table(shard, datasets)
        where = f"{parent.version if parent else ''}, {shard.path}"
        check_sizes(as_rows(table, spec.examples, where=where), spec, where=where)
        tables.append(table)
    return pa.concat_tables([ROWS.empty_table(), *tables]).slice(0, REFERENCE_ROWS_MAX)


def _read_table(file: DataFile, datasets: DatasetStore) -> pa.Table:
    return table_of(datasets.fetch_shard(file), where=file.path)


def _columns_of_label(label: Label) -> Mapping[str, Any]:
    return {name: getattr(label, name) for name in ROWS.names}


def _incoming_row(row: Row) -> Mapping[str, Any]:
    return {
        **_columns_of_label(row.label),
        "shard": row.shard,
        "split": split_of(row.label.id),
        "known_label": row.known_label,
        "known_twin_split": row.known_twin_split,
    }


def _notes_of(pending: Backlog, rejected: Sequence[RejectedShard]) -> IngestNotes:
    return IngestNotes(
        rejected=tuple(rejected),
        released=tuple(sorted(pending.released)),
        reopened=tuple(sorted(pending.reopened)),
        orders=pending.orders,
    )


def _write(path: str, data: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
