"""Both sides of a task whose only input is a vector: what was asked, and what the champion learned from."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.actions.labels.drift_report import DECISION_ROWS_MAX, Sample, draw_rows, sample_of_table
from ratchet.actions.models.classes import fetch_classes
from ratchet.core.labels.answers import label_text
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import Split
from ratchet.core.labels.tables import table_of, with_features
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import DatasetStore, ObjectStore
from ratchet.core.rollout.monitor import Gathered
from ratchet.tasks.spec import TaskSpec

_SPLITS: tuple[Split, ...] = ("val", "test", "train")
"""Each is a fair draw by the hash of an id; the smallest first, because no more than 10,000 rows are compared."""


def served_sample(gathered: Gathered, spec: TaskSpec) -> Sample:
    """As wide as what the champion was asked: the task file may have another number of features by now."""
    rows = [row for row in gathered.rows if row.features]
    if not rows:
        return Sample(np.empty((0, spec.features.num_features)), [])
    features_NF = np.array([row.features for row in rows], dtype=np.float64)
    return Sample(features_NF, [label_text(row.label) for row in rows])


def fetch_reference(
    datasets: DatasetStore, objects: ObjectStore, champion: ModelRef, *, num_features: int, schema: ExampleSchema
) -> Sample:
    """Rows of the dataset version that the champion was trained on, of the classes that it knows."""
    manifest = datasets.fetch_manifest(champion.dataset_version)
    classes = fetch_classes(objects, champion.uri)
    drawn: pa.Table | None = None
    for split in _SPLITS:
        if drawn is None or drawn.num_rows < DECISION_ROWS_MAX:
            for table in _fetch_tables(datasets, manifest, split, schema):
                drawn = draw_rows(table if drawn is None else pa.concat_tables([drawn, table]))
    if drawn is None:
        return Sample(np.empty((0, num_features)), [])
    drawn = drawn.filter(pc.equal(pc.list_value_length(drawn["features"]), num_features))
    if classes:
        drawn = drawn.filter(pc.is_in(drawn["label"], value_set=pa.array(classes, pa.string())))
    return sample_of_table(drawn, num_features=num_features)


def _fetch_tables(
    datasets: DatasetStore, manifest: Manifest, split: Split, schema: ExampleSchema
) -> Iterator[pa.Table]:
    """One after the other: a split may be larger than memory."""
    for shard in manifest.shards:
        if shard.split == split:
            yield with_features(table_of(datasets.fetch_shard(shard), where=shard.path), schema)
