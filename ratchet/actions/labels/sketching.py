"""The sketch of a dataset version: that of its parent, and of the shards that the parent does not have."""

import logging
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.rows import check_sizes
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.dataset import DatasetShard, Manifest
from ratchet.core.labels.drift.sketches import Sketch
from ratchet.core.labels.drift.tables import PartColumn, TableSketch, sketch_of, sketch_of_rows
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import Split
from ratchet.core.labels.tables import as_rows, table_of
from ratchet.core.ports import DatasetStore
from ratchet.parallel import map_parallel
from ratchet.stores.sketches import Sketches, StoredSketch
from ratchet.tasks.spec import TaskSpec

_SPLIT: Split = "train"
"""What a champion learned from."""
_PARENTS_ASKED_MAX = 8
"""Versions back to look for a sketch: most have one, and refused runs leave few without."""
log = logging.getLogger(__name__)


def fetch_sketch(spec: TaskSpec, version: str, *, datasets: DatasetStore, sketches: Sketches) -> TableSketch:
    """The sketch of the training rows of a version. It costs what is new since the last sketch, one shard in memory
    at a time; all rows where there is no sketch yet, or where rows are gone since.

    Safe to repeat: a sketch is one object, made of the version's shards alone.
    """
    manifest = datasets.fetch_manifest(version)
    wanted = {shard.sha256: shard for shard in manifest.shards if shard.split == _SPLIT}
    base, is_of_version = _newest_base(spec, manifest, frozenset(wanted), datasets=datasets, sketches=sketches)
    missing = [shard for sha256, shard in wanted.items() if sha256 not in base.covers]
    if is_of_version and not missing:
        return base.sketch
    log.info("sketching %d of %d training shards of %s", len(missing), len(wanted), version)
    sketch = base.sketch
    for shard in missing:
        sketch = sketch.merge(_sketch_of_shard(spec, shard, version, datasets))
    sketches.put(version, spec.examples, StoredSketch(sketch, frozenset(wanted)))
    return sketch


def _newest_base(
    spec: TaskSpec, manifest: Manifest, wanted: frozenset[str], *, datasets: DatasetStore, sketches: Sketches
) -> tuple[StoredSketch, bool]:
    """The nearest sketch that is of wanted shards alone, and whether it is that of the version itself."""
    for version in _versions_back(manifest, datasets):
        found = sketches.fetch(version, spec.examples)
        if found is not None and found.covers <= wanted:
            return found, version == manifest.version
    return StoredSketch(TableSketch(), frozenset()), False


def _versions_back(manifest: Manifest, datasets: DatasetStore) -> Iterator[str]:
    yield manifest.version
    for _ in range(_PARENTS_ASKED_MAX):
        if manifest.parent is None:
            return
        yield manifest.parent
        try:
            manifest = datasets.fetch_manifest(manifest.parent)
        except NotFound:
            return


def _sketch_of_shard(spec: TaskSpec, shard: DatasetShard, version: str, datasets: DatasetStore) -> TableSketch:
    """Without rows where the shard does not fit the task file of today: drift is no reason to stop a run. An input
    that the shard does not have is missing in it."""
    where = f"{version}, {shard.path}"
    try:
        rows = as_rows(table_of(datasets.fetch_shard(shard), where=where), spec.examples, where=where)
        check_sizes(rows, spec, where=where)
    except DataRejected as error:
        log.warning("its rows are not compared: %s", error)
        return TableSketch()
    return sketch_rows(rows, spec)


def sketch_rows(rows: pa.Table, spec: TaskSpec, *, num_rows_max: int | None = None) -> TableSketch:
    """The sketch of rows with the columns id, inputs, label, several columns at a time (`sketch_of_rows`)."""
    return sketch_of_rows(rows, spec.examples, num_rows_max=num_rows_max, each=_several_at_a_time)


def sketch_columns(inputs: pa.Table, labels: pa.ChunkedArray, hashes: np.ndarray, schema: ExampleSchema) -> TableSketch:
    """The sketch of inputs and labels (`sketch_of`), several columns at a time."""
    return sketch_of(inputs, labels, hashes, schema, each=_several_at_a_time)


def _several_at_a_time(sketch: Callable[[PartColumn], Sketch], columns: Iterable[PartColumn]) -> list[Sketch]:
    return map_parallel(sketch, list(columns))
