"""The sketch of a dataset version: that of its parent, and of the shards that the parent does not have."""

import logging
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.actions.labels.derived import nearest_kept
from ratchet.actions.labels.parts import read_some
from ratchet.actions.labels.rows import fitting_rows
from ratchet.core.labels.dataset import DatasetShard
from ratchet.core.labels.drift.sketches import Sketch
from ratchet.core.labels.drift.tables import PartColumn, TableSketch, compared_rows, sketch_of, sketch_of_rows
from ratchet.core.labels.schema import ExampleSchema, inputs_table
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


def sketch_file(path: str, spec: TaskSpec, *, num_rows_max: int, bytes_at_once: int = 64 << 20) -> TableSketch:
    """As `sketch_rows`, of a file. bytes_at_once: about as much is in memory; a sketch of more rows at once is more
    exact, and quicker."""
    schema = spec.examples
    rows_n, hashes_n = compared_rows(pq.read_table(path, columns=["id", "label"]), schema, num_rows_max=num_rows_max)
    sketch, start = TableSketch(), 0
    for rows in _gathered(read_some(path, schema, rows_n, columns=["inputs", "label"]), bytes_at_once):
        hashes = hashes_n[start : start + rows.num_rows]
        sketch = sketch.merge(sketch_columns(inputs_table(rows, schema), rows["label"], hashes, schema))
        start += rows.num_rows
    return sketch


def _gathered(parts: Iterable[pa.Table], num_bytes: int) -> Iterator[pa.Table]:
    """Parts put together until they have so many bytes."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        if sum(each.nbytes for each in waiting) >= num_bytes:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def sketch_columns(inputs: pa.Table, labels: pa.ChunkedArray, hashes: np.ndarray, schema: ExampleSchema) -> TableSketch:
    """The sketch of inputs and labels (`sketch_of`), several columns at a time."""
    return sketch_of(inputs, labels, hashes, schema, each=_several_at_a_time)


def _several_at_a_time(sketch: Callable[[PartColumn], Sketch], columns: Iterable[PartColumn]) -> list[Sketch]:
    return map_parallel(sketch, list(columns))
