"""The sketch of a dataset version: that of its parent, and of the shards that the parent does not have."""

import logging
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.derived import nearest_kept
from ratchet.actions.labels.rows import fitting_rows
from ratchet.core.labels.dataset import DatasetShard
from ratchet.core.labels.drift.sketches import Sketch
from ratchet.core.labels.drift.tables import PartColumn, TableSketch, sketch_of, sketch_of_rows
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import Split
from ratchet.core.ports import DatasetStore
from ratchet.parallel import map_parallel
from ratchet.stores.sketches import Sketches, StoredSketch
from ratchet.tasks.spec import TaskSpec

_SPLIT: Split = "train"
"""What a champion learned from."""
log = logging.getLogger(__name__)


def fetch_sketch(spec: TaskSpec, version: str, *, datasets: DatasetStore, sketches: Sketches) -> TableSketch:
    """The sketch of the training rows of a version. It costs what is new since the last sketch, one shard in memory
    at a time; all rows where there is no sketch yet, or where rows are gone since.

    Safe to repeat: a sketch is one object, made of the version's shards alone.
    """
    manifest = datasets.fetch_manifest(version)
    wanted = tuple(shard for shard in manifest.shards if shard.split == _SPLIT)
    kept, found = nearest_kept(
        manifest, wanted, lambda version: sketches.fetch(version, spec.examples), datasets=datasets
    )
    sketch = kept.sketch if kept else TableSketch()
    if found.is_whole:
        return sketch
    log.info("sketching %d of %d training shards of %s", len(found.missing), len(wanted), version)
    for shard in found.missing:
        sketch = sketch.merge(_sketch_of_shard(spec, shard, version, datasets))
    sketches.put(version, spec.examples, StoredSketch(sketch, frozenset(shard.sha256 for shard in wanted)))
    return sketch


def _sketch_of_shard(spec: TaskSpec, shard: DatasetShard, version: str, datasets: DatasetStore) -> TableSketch:
    rows = fitting_rows(datasets.fetch_shard(shard), spec, where=f"{version}, {shard.path}")
    return TableSketch() if rows is None else sketch_rows(rows, spec)


def sketch_rows(rows: pa.Table, spec: TaskSpec, *, num_rows_max: int | None = None) -> TableSketch:
    """The sketch of rows with the columns id, inputs, label, several columns at a time (`sketch_of_rows`)."""
    return sketch_of_rows(rows, spec.examples, num_rows_max=num_rows_max, each=_several_at_a_time)


def sketch_columns(inputs: pa.Table, labels: pa.ChunkedArray, hashes: np.ndarray, schema: ExampleSchema) -> TableSketch:
    """The sketch of inputs and labels (`sketch_of`), several columns at a time."""
    return sketch_of(inputs, labels, hashes, schema, each=_several_at_a_time)


def _several_at_a_time(sketch: Callable[[PartColumn], Sketch], columns: Iterable[PartColumn]) -> list[Sketch]:
    return map_parallel(sketch, list(columns))
