"""New label shards become a dataset version: read, settled, split, indexed, committed.

Costs O(new labels), but for the index of known examples: 20 bytes a label are read (0.1 s for a million). Reading ids
from the shards themselves would read all features.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingest.batch import Batch, empty_batch, read_batch, write_incoming
from components.ingest.files import VersionFiles, index_files, index_table, overlay_files, shard_files
from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.rows import fetch_overlays, rows_of
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected
from ratchet.core.labels.agreement import Settled
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.corrections import (
    Corrections,
    corrected,
    corrections_of,
    joined_overlays,
    overlay_of,
    settle_new,
    words_among,
)
from ratchet.core.labels.dataset import DataFile, Manifest, version_name, version_number
from ratchet.core.labels.label_values import counts_by_class
from ratchet.core.labels.measured import IngestNotes, RejectedShard
from ratchet.core.labels.tables import parquet_writer, table_of
from ratchet.core.ports import DatasetStore
from ratchet.tasks.spec import TaskSpec

REFERENCE_ROWS_MAX = 10_000
REFERENCE_SHARDS_MAX = 64
REFERENCE_BYTES_MAX = 256 << 20
"""Large pictures are fewer rows."""

log = logging.getLogger(__name__)


class Paths(NamedTuple):
    """Where the step writes what the next steps read."""

    incoming: str
    """Parquet of `tables.incoming_schema`: every readable opinion of this batch."""
    reference: str
    """Parquet of `ExampleSchema.rows_schema`: training rows of the parent, the newest shards first."""
    manifest: str
    rejected: str
    """JSON of `core.labels.measured.IngestNotes`: shards that could not be read, and what came back from quarantine."""


def ingest_step(
    spec: TaskSpec, *, run_key: str, stores: LabelStores, paths: Paths, by_weight: bool = False
) -> tuple[str, int]:
    """Make a version of what is pending; gives its name and the number of new examples.

    Safe to repeat: its only effect is the version, one commit with its tag. An attempt that was killed after it left a
    version that nobody judged; the next one takes that version when it holds the same, and else makes one of its own.
    With nothing pending it is the newest accepted version and 0: a deliberate retraining on the same data.
    DataRejected when there is no data at all. by_weight: the policy settles opinions by consensus.
    """
    pending = list_pending(stores, task=spec.name, is_counted=False)
    parent = stores.datasets.fetch_manifest(pending.accepted.version) if pending.accepted else None
    overlays = fetch_overlays(stores.datasets, parent) if parent else []
    _write_reference(spec, parent, overlays, stores.datasets, Path(paths.reference))
    for key in pending.from_future:
        log.warning("label shard %s is left alone: its key is not that of the time at which it landed", key)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if pending.shards:
            manifest, batch = _make_version(spec, pending, parent, overlays, stores, scratch, by_weight)
        elif parent is not None:
            manifest, batch = parent, empty_batch(spec, scratch=scratch)
        else:
            raise DataRejected(
                f"There are no labels of {spec.name!r}. `ratchet labels push FILE --task {spec.name}` adds some."
            )
        write_incoming(batch, spec.examples, Path(paths.incoming))
    num_new = manifest.num_labels - (parent.num_labels if parent else 0)
    num_bad = len(batch.rejected)
    log.info("run %s: %s holds %d new examples, %d shards cannot be read", run_key, manifest.version, num_new, num_bad)
    _write(paths.manifest, manifest.model_dump_json(indent=1).encode())
    _write(paths.rejected, _notes_of(pending, batch.rejected).model_dump_json().encode())
    return manifest.version, num_new


def _make_version(
    spec: TaskSpec,
    pending: Backlog,
    parent: Manifest | None,
    overlays: Sequence[pa.Table],
    stores: LabelStores,
    scratch: Path,
    by_weight: bool,
) -> tuple[Manifest, Batch]:
    indexes = [_read_table(file, stores.datasets) for file in (parent.index if parent else ())]
    batch = read_batch(spec, pending, stores, indexes, scratch=scratch)
    settled = _new_examples(batch, spec, by_weight)
    number = max(map(version_number, stores.datasets.list_versions(spec.name)), default=0) + 1
    files = VersionFiles(scratch)
    ids = batch.ids[settled.rows]
    index = index_table(ids, batch.digests[settled.rows], settled.labels, spec.output)
    standing = joined_overlays(overlays[::-1])
    put_right = corrections_of(
        batch.opinions, spec.output, reviewers=spec.reviewers, overlay=standing, by_weight=by_weight
    )
    words = words_among(batch.opinions, settled, reviewers=spec.reviewers)
    manifest = Manifest(
        version=version_name(spec.name, number),
        parent=parent.version if parent else None,
        num_labels=(parent.num_labels if parent else 0) + len(settled.rows),
        num_labels_by_class=_counted(batch, settled, put_right, spec, parent),
        watermark=pending.last_key,
        shards=(
            *(parent.shards if parent else ()),
            *shard_files(_said_of(batch, settled), settled.rows, ids, batch.inputs, spec.examples, number, files),
        ),
        index=index_files(
            pa.concat_tables([index, _corrected_index(batch, put_right, spec)]), number, parent, indexes, files
        ),
        overlays=overlay_files(
            overlay_of(batch.opinions, put_right, spec.examples, words=words), number, parent, overlays, files
        ),
        erased=parent.erased if parent else 0,
    )
    if len(put_right.rows):
        log.info("%d accepted labels are put right", len(put_right.rows))
    unjudged = _newest_unjudged(spec.name, stores)
    if unjudged is not None and unjudged.content == manifest.content:
        log.info("%s holds the same labels and was never judged: an earlier attempt made it", unjudged.version)
        return unjudged, batch
    stores.datasets.commit_version(manifest, files)
    return manifest, batch


def _newest_unjudged(task: str, stores: LabelStores) -> Manifest | None:
    """The newest version, when a run made it and died before `validate` said anything of it."""
    versions = stores.datasets.list_versions(task)
    if not versions or stores.verdicts.fetch(versions[-1]) is not None:
        return None
    return stores.datasets.fetch_manifest(versions[-1])


def _new_examples(batch: Batch, spec: TaskSpec, by_weight: bool) -> Settled:
    """One label of each new id, in the order of ids (`settle_new`).

    An id that the parent holds is not added again, with whatever label: what is said of it later is a correction
    (`corrections_of`), or evidence about who says it.
    """
    said = batch.opinions.select(["id", "label", "labeler", "labeled_at", "shard", "corrects"])
    unknown = np.flatnonzero(pc.is_null(batch.opinions["known_label"]).to_numpy(zero_copy_only=False))
    settled = settle_new(said.take(pa.array(unknown)), spec.output, reviewers=spec.reviewers, by_weight=by_weight)
    return Settled(unknown[settled.rows], settled.labels)


def _said_of(batch: Batch, settled: Settled) -> pa.Table:
    """The settled examples as rows of a dataset shard, without their inputs."""
    said = batch.opinions.select(["id", "label", "labeler", "labeled_at"]).take(pa.array(settled.rows))
    return said.set_column(1, said.schema.field("label"), settled.labels)


def _corrected_index(batch: Batch, put_right: Corrections, spec: TaskSpec) -> pa.Table:
    """The corrected examples as the index has them from now on, with the inputs that they were accepted with."""
    ids = batch.ids[put_right.rows]
    return index_table(ids, batch.known.inputs_of(ids), put_right.labels, spec.output)


def _counted(
    batch: Batch, settled: Settled, put_right: Corrections, spec: TaskSpec, parent: Manifest | None
) -> dict[str, int]:
    """By class; nothing of numbers."""
    counts = Counter(parent.num_labels_by_class if parent else {})
    counts.update(counts_by_class(settled.labels, spec.output))
    counts.update(counts_by_class(put_right.labels, spec.output))
    counts.subtract(counts_by_class(batch.opinions["known_label"].take(pa.array(put_right.rows)), spec.output))
    return {name: number for name, number in sorted(counts.items()) if number > 0}


def _write_reference(
    spec: TaskSpec, parent: Manifest | None, overlays: Sequence[pa.Table], datasets: DatasetStore, path: Path
) -> None:
    """Up to 10,000 training rows of the parent, newest shards first, one shard in memory at a time; no rows without a
    parent.

    DataRejected when they have another number of features than the task: before a version is made of both.
    """
    shards = [shard for shard in reversed(parent.shards if parent else ()) if shard.split == "train"]
    overlay, rows_left, bytes_left = joined_overlays(overlays[::-1]), REFERENCE_ROWS_MAX, REFERENCE_BYTES_MAX
    path.parent.mkdir(parents=True, exist_ok=True)
    with parquet_writer(str(path), spec.examples.rows_schema, compression="lz4") as writer:
        for shard in shards[:REFERENCE_SHARDS_MAX]:
            if rows_left <= 0 or bytes_left <= 0:
                break
            where = f"{parent.version if parent else ''}, {shard.path}"
            rows = corrected(rows_of(datasets.fetch_shard(shard), spec, where=where), overlay).slice(0, rows_left)
            writer.write_table(rows)
            rows_left, bytes_left = rows_left - rows.num_rows, bytes_left - rows.nbytes


def _read_table(file: DataFile, datasets: DatasetStore) -> pa.Table:
    return table_of(datasets.fetch_shard(file), where=file.path)


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
