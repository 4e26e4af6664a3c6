"""The training rows of a dataset version, without the older ones that the task's `replay_share` leaves out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.actions.labels.left_out import keep_rows
from ratchet.core.errors import RatchetError
from ratchet.core.labels.dataset import DataFile, Manifest, version_number
from ratchet.core.labels.replay import Replay, choose_rows
from ratchet.core.labels.tables import table_of
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import DatasetStore
from ratchet.tasks.spec import TaskSpec


def old_version_of(
    spec: TaskSpec, manifest: Manifest, base: ModelRef | None, datasets: DatasetStore
) -> tuple[Manifest | None, str]:
    """What the champion learned from, where the task file asks for a share of it; else why all rows are trained, ""
    when it asks for all. base: the champion that the training starts from."""
    if spec.training.replay_share == "all":
        return None, ""
    if base is None:
        is_chosen = spec.training.start == "scratch"
        return None, "training.start is scratch" if is_chosen else "there is no champion"
    try:
        if version_number(base.dataset_version) > version_number(manifest.version):
            return None, f"the champion learned from a newer version, {base.dataset_version}"
        return datasets.fetch_manifest(base.dataset_version), ""
    except (RatchetError, ValueError) as error:
        return None, f"what the champion learned from cannot be read: {error}"


def leave_out_old(
    datasets: DatasetStore,
    manifest: Manifest,
    before: Manifest,
    path: Path,
    num_by_shard: Mapping[str, int],
    *,
    share: float,
    spec: TaskSpec,
) -> Replay:
    """Take older rows out of the file that `fetch_split` wrote, until `share` of them is left.

    before: what the champion learned from. num_by_shard: rows in the file by the shard's sha256, in their order. A row
    is old when that version has its example too and its label was not put right since. All rows stay when none is new.
    """
    table = pq.read_table(path, columns=["id", "label"])
    is_old_N = _is_old(datasets, manifest, before, table["id"], num_by_shard)
    num_old = int(is_old_N.sum())
    num_new = len(is_old_N) - num_old
    if num_new == 0:
        return Replay(before.version, 0, num_old, num_old, f"none of them is new since {before.version}")
    is_kept_N = choose_rows(
        is_old_N, _strata_of(table["label"], spec), share=share, seed=spec.training.seed, version=manifest.version
    )
    keep_rows(path, is_kept_N)
    return Replay(before.version, num_new, num_old, int(is_kept_N.sum()) - num_new)


def _is_old(
    datasets: DatasetStore,
    manifest: Manifest,
    before: Manifest,
    ids: pa.ChunkedArray,
    num_by_shard: Mapping[str, int],
) -> np.ndarray:
    known = {shard.sha256 for shard in before.shards}
    is_known = np.array([sha256 in known for sha256 in num_by_shard], dtype=bool)
    is_old_N = np.repeat(is_known, list(num_by_shard.values()))
    # A shard may have been written anew since, with other rows beside its own.
    rewritten = [shard for shard in before.shards if shard.split == "train" and shard.sha256 not in num_by_shard]
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


def _strata_of(labels: pa.ChunkedArray, spec: TaskSpec) -> np.ndarray:
    """A number for each class; one for all rows where a row has no single class."""
    if spec.output.type != "category":
        return np.zeros(len(labels), dtype=np.int64)
    places: np.ndarray = pc.index_in(labels, value_set=pa.array(spec.classes, labels.type)).to_numpy()
    return places
