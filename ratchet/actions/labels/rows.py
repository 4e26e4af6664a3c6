"""The rows of one split of a dataset version that the task can learn from, gathered into one local file.

A dataset version outlives changes of the task file: rows of classes that the task no longer has are left out and
counted; rows whose inputs no longer fit are refused, because nothing can be done with them.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.core.errors import DataRejected
from ratchet.core.labels.corrections import corrected, joined_overlays
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.schema import ExampleSchema, VectorInput, inputs_table
from ratchet.core.labels.shards import Split
from ratchet.core.labels.tables import as_rows, table_of
from ratchet.core.ports import DatasetStore
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)
COLUMNS = ("id", "inputs", "label")
"""Of `ExampleSchema.rows_schema`: what the file has."""


class SplitRows(NamedTuple):
    """What is in the file, and what is not."""

    num_rows: int
    left_out: Mapping[str, int]
    """Class that the task no longer has, to its number of rows."""
    num_by_shard: Mapping[str, int]
    """Rows in the file by the sha256 of their shard, in their order."""


def fetch_split(datasets: DatasetStore, manifest: Manifest, split: Split, path: Path, *, spec: TaskSpec) -> SplitRows:
    """Write all rows of a split that the task can learn from as one Parquet file with the columns id, inputs, label.

    One shard is in memory at a time. DataRejected when rows lack an input of the task, or have vectors of another size.
    """
    wanted = pa.schema([spec.examples.rows_schema.field(name) for name in COLUMNS])
    num_by_shard, left_out = Counter[str](), Counter[str]()
    overlay = joined_overlays(fetch_overlays(datasets, manifest)[::-1])
    with pq.ParquetWriter(path, wanted) as writer:
        for shard in manifest.shards:
            if shard.split == split:
                where = f"{manifest.version}, {shard.path}"
                rows = corrected(rows_of(datasets.fetch_shard(shard), spec, where=where), overlay)
                is_known = _is_known(rows["label"], spec.examples)
                left_out.update(_classes_of(rows.filter(pc.invert(is_known))["label"], spec.examples))
                kept = rows.filter(is_known).select(COLUMNS)
                writer.write_table(kept)
                num_by_shard[shard.sha256] += kept.num_rows
    return SplitRows(num_by_shard.total(), dict(sorted(left_out.items())), num_by_shard)


def fetch_overlays(datasets: DatasetStore, manifest: Manifest) -> list[pa.Table]:
    """What was put right since the shards of a version were written, oldest first."""
    return [table_of(datasets.fetch_shard(file), where=file.path) for file in manifest.overlays]


def rows_of(data: bytes, spec: TaskSpec, *, where: str) -> pa.Table:
    """The rows of a shard of a dataset version, whichever task file wrote them; DataRejected when they do not fit."""
    rows = as_rows(table_of(data, where=where), spec.examples, where=where)
    check_sizes(rows, spec, where=where)
    _check_required(rows, spec, where=where)
    return rows


def fitting_rows(data: bytes, spec: TaskSpec, *, where: str) -> pa.Table | None:
    """The rows of a shard for what only compares them, which stops no run: None where they do not fit the task file of
    today. An input that the shard does not have is missing in it."""
    try:
        rows = as_rows(table_of(data, where=where), spec.examples, where=where)
        check_sizes(rows, spec, where=where)
    except DataRejected as error:
        log.warning("its rows are not compared: %s", error)
        return None
    return rows


def check_sizes(rows: pa.Table, spec: TaskSpec, *, where: str) -> None:
    """That each vector of a dataset version is as long as the task says; DataRejected says what to do otherwise."""
    inputs = inputs_table(rows, spec.examples)
    for vector in spec.inputs:
        if not isinstance(vector, VectorInput):
            continue
        lengths = pc.list_value_length(inputs[vector.name]).drop_null().to_numpy()
        others = lengths[lengths != vector.size]
        if len(others):
            widths, numbers = np.unique(others, return_counts=True)
            width, num = int(widths[numbers.argmax()]), int(numbers.max())
            raise DataRejected(f"{where}: {num} of {rows.num_rows} rows have {_other_size(vector, width, spec)}")


def _other_size(vector: VectorInput, width: int, spec: TaskSpec) -> str:
    is_short = spec.examples.short_input is not None
    found, field = ("features", "features.num_features") if is_short else (f"numbers in {vector.name!r}", "size")
    return (
        f"{width} {found}; the task {spec.name!r} has {field}: {vector.size}. A task keeps the "
        f"number of features of its dataset. Either set it back to {width} and choose or derive the inputs in "
        f"{spec.implementation}.preprocess, or give the task with {vector.size} features a new name (a copy of "
        f"configs/tasks/{spec.name}.yaml) and push its labels there."
    )


def _check_required(rows: pa.Table, spec: TaskSpec, *, where: str) -> None:
    inputs = inputs_table(rows, spec.examples)
    for each in spec.inputs:
        num = inputs[each.name].null_count
        if num and not each.optional:
            raise DataRejected(
                f"{where}: {num} of {rows.num_rows} rows lack the input {each.name!r}, which the task {spec.name!r} "
                "requires. Declare it with `optional: true`, or give the changed task a new name and push its labels "
                "there."
            )


def _is_known(labels: pa.ChunkedArray, schema: ExampleSchema) -> pa.ChunkedArray | pa.Array:
    """Which labels (bool, (N,)) the task has the classes of."""
    if not schema.classes:
        return pc.is_valid(labels)
    classes = pa.array(schema.classes, pa.string())
    if not pa.types.is_list(labels.type):
        return pc.is_in(labels, value_set=classes)
    whole = labels.combine_chunks()
    unknown = pc.list_parent_indices(whole).filter(pc.invert(pc.is_in(pc.list_flatten(whole), value_set=classes)))
    is_known_N = np.ones(len(whole), dtype=bool)
    is_known_N[unknown.to_numpy(zero_copy_only=False)] = False
    return pa.array(is_known_N)


def _classes_of(labels: pa.ChunkedArray, schema: ExampleSchema) -> Mapping[str, int]:
    """How often each class that the task does not have is in these labels."""
    if not schema.classes:
        return {}
    flat = pc.list_flatten(labels) if pa.types.is_list(labels.type) else labels
    counts = pc.value_counts(flat).to_pylist()
    return {str(each["values"]): each["counts"] for each in counts if each["values"] not in schema.classes}


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """`12 rows of removed classes left out: "x" (12)`; "" when there are none."""
    if not left_out:
        return ""
    each = ", ".join(f"{name!r} ({num})" for name, num in left_out.items())
    return f"{sum(left_out.values())} rows are left out, their classes are no longer in the task: {each}"
