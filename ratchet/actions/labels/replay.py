"""The training rows of a dataset version, without the older ones that the task's `replay_share` leaves out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.actions.labels.left_out import keep_rows
from ratchet.actions.labels.old_rows import old_rows
from ratchet.core.errors import RatchetError
from ratchet.core.labels.dataset import Manifest, version_number
from ratchet.core.labels.replay import Replay, choose_rows
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

    before: what the champion learned from. num_by_shard: rows in the file by the shard's sha256, in their order. All
    rows stay when none is new.
    """
    table = pq.read_table(path, columns=["id", "label"])
    is_old_N = old_rows(datasets, manifest, before, table["id"], num_by_shard, split="train")
    num_old = int(is_old_N.sum())
    num_new = len(is_old_N) - num_old
    if num_new == 0:
        return Replay(before.version, 0, num_old, num_old, f"none of them is new since {before.version}")
    is_kept_N = choose_rows(
        is_old_N, _strata_of(table["label"], spec), share=share, seed=spec.training.seed, version=manifest.version
    )
    keep_rows(path, is_kept_N)
    return Replay(before.version, num_new, num_old, int(is_kept_N.sum()) - num_new)


def _strata_of(labels: pa.ChunkedArray, spec: TaskSpec) -> np.ndarray:
    """A number for each class; one for all rows where a row has no single class."""
    if spec.output.type != "category":
        return np.zeros(len(labels), dtype=np.int64)
    places: np.ndarray = pc.index_in(labels, value_set=pa.array(spec.classes, labels.type)).to_numpy()
    return places
