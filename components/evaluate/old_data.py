"""Which test rows the champion's data had too."""

import logging
from collections.abc import Iterator

import pyarrow as pa

from ratchet.actions.labels.old_rows import old_rows
from ratchet.actions.labels.rows import SplitRows
from ratchet.core.errors import RatchetError
from ratchet.core.labels.dataset import Manifest
from ratchet.core.models.ledger import ModelRef
from ratchet.core.models.slices.columns import SliceColumn, age_column
from ratchet.core.ports import DatasetStore

log = logging.getLogger(__name__)


def ages_of(
    datasets: DatasetStore, manifest: Manifest, champion: ModelRef, ids: pa.ChunkedArray, split: SplitRows
) -> Iterator[SliceColumn]:
    """One column, of all test rows; none where all are old, or what the champion learned from cannot be read."""
    if champion.dataset_version == manifest.version:
        return
    try:
        before = datasets.fetch_manifest(champion.dataset_version)
        yield age_column(old_rows(datasets, manifest, before, ids, split.num_by_shard, split="test"))
    except RatchetError as error:
        log.warning("not measured: what the challenger has forgotten of %s: %s", champion.dataset_version, error)
