"""Which rows of a dataset version an earlier one had too. Reads no more than what was written anew since."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.dataset import DataFile, Manifest
from ratchet.core.labels.shards import Split
from ratchet.core.labels.tables import table_of
from ratchet.core.ports import DatasetStore


def old_rows(
    datasets: DatasetStore,
    manifest: Manifest,
    before: Manifest,
    ids: pa.ChunkedArray,
    num_by_shard: Mapping[str, int],
    *,
    split: Split,
) -> np.ndarray:
    """(N,) bool: of the rows of a split, those that the version before had too, with a label that was not put right
    since.

    ids: of the rows. num_by_shard: how many a shard has, by its sha256, in their order (`rows.SplitRows`).
    """
    known = {shard.sha256 for shard in before.shards}
    is_known = np.array([sha256 in known for sha256 in num_by_shard], dtype=bool)
    is_old_N = np.repeat(is_known, list(num_by_shard.values()))
    # A shard may have been written anew since, with other rows beside its own.
    rewritten = [shard for shard in before.shards if shard.split == split and shard.sha256 not in num_by_shard]
    for shard in rewritten:
        is_old_N |= _is_in(ids, _ids_in(datasets, shard))
    put_right_before = {overlay.sha256 for overlay in before.overlays}
    for overlay in manifest.overlays:
        if overlay.sha256 not in put_right_before:
            is_old_N &= ~_is_in(ids, _ids_in(datasets, overlay))
    return is_old_N


def _ids_in(datasets: DatasetStore, file: DataFile) -> pa.ChunkedArray:
    return table_of(datasets.fetch_shard(file), where=file.path)["id"]


def _is_in(ids: pa.ChunkedArray, others: pa.ChunkedArray) -> np.ndarray:
    found: np.ndarray = pc.is_in(ids, value_set=others.combine_chunks().cast(ids.type)).to_numpy()
    return found
