"""The rows of one split of a dataset version that the task can learn from, gathered into one local file.

A dataset version outlives changes of the task file: rows of classes that the task no longer has are left out and
counted; rows with another number of features are refused, because nothing can be done with them.
"""

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.shards import Split
from ratchet.core.ports import DatasetStore
from ratchet.tasks.spec import TaskSpec

_SCHEMA = pa.schema([("id", pa.string()), ("features", pa.list_(pa.float64())), ("label", pa.string())])


class SplitRows(NamedTuple):
    """What is in the file, and what is not."""

    num_rows: int
    left_out: Mapping[str, int]
    """Class that the task no longer has, to its number of rows."""


def fetch_split(datasets: DatasetStore, manifest: Manifest, split: Split, path: Path, *, spec: TaskSpec) -> SplitRows:
    """Write all rows of a split with a class of the task as one Parquet file with the columns id, features, label.

    DataRejected when rows have another number of features than the task.
    """
    tables, left_out = [_SCHEMA.empty_table()], Counter[str]()
    for shard in manifest.shards:
        if shard.split == split:
            data = datasets.fetch_shard(shard)
            table = pq.read_table(io.BytesIO(data), columns=_SCHEMA.names).cast(_SCHEMA)
            check_num_features(table, spec, where=f"{manifest.version}, {shard.path}")
            is_known = pc.is_in(table["label"], value_set=pa.array(spec.classes, pa.string()))
            left_out.update(table.filter(pc.invert(is_known))["label"].to_pylist())
            tables.append(table.filter(is_known))
    whole = pa.concat_tables(tables)
    pq.write_table(whole, path)
    return SplitRows(int(whole.num_rows), dict(sorted(left_out.items())))


def check_num_features(table: pa.Table, spec: TaskSpec, *, where: str) -> None:
    """That each row of a dataset version has as many features as the task; DataRejected says what to do otherwise."""
    expected = spec.features.num_features
    widths = Counter(pc.list_value_length(table["features"]).to_pylist())
    others = {width: num for width, num in widths.items() if width != expected}
    if others:
        width, num = max(others.items(), key=lambda item: item[1])
        raise DataRejected(
            f"{where}: {num} of {table.num_rows} rows have {width} features; the task {spec.name!r} has "
            f"features.num_features: {expected}. A task keeps the number of features of its dataset. Either set it "
            f"back to {width} and choose or derive the inputs in {spec.implementation}.preprocess, or give the task "
            f"with {expected} features a new name (a copy of configs/tasks/{spec.name}.yaml) and push its labels there."
        )


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """`12 rows of removed classes left out: "x" (12)`; "" when there are none."""
    if not left_out:
        return ""
    each = ", ".join(f"{name!r} ({num})" for name, num in left_out.items())
    return f"{sum(left_out.values())} rows are left out, their classes are no longer in the task: {each}"
