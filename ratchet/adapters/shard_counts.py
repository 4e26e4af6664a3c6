"""How many labels are in a shard that does not say so, by class and by labeler: of bytes that nobody has checked."""

import io
import json

from ratchet.core.labels import ShardCounts, count_label_fields

_NUM_ROWS_MAX = 1_000_000
"""A small Parquet file may claim any number of rows; no more are read."""


def count_shard(key: str, data: bytes) -> ShardCounts:
    """Counts of whatever can be counted: lines that are no labels are a number, a broken Parquet file is nothing."""
    return _count_lines(data) if key.endswith(".jsonl") else _count_rows(data)


def _count_lines(data: bytes) -> ShardCounts:
    lines = [line for line in data.split(b"\n") if line.strip()]
    try:
        values = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return ShardCounts(num_labels=len(lines))
    if not all(isinstance(value, dict) for value in values):
        return ShardCounts(num_labels=len(lines))
    return count_label_fields((value.get("label"), value.get("labeler")) for value in values)


def _count_rows(data: bytes) -> ShardCounts:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
        num_rows = file.metadata.num_rows
        if num_rows > _NUM_ROWS_MAX or not {"label", "labeler"} <= set(file.schema_arrow.names):
            return ShardCounts(num_labels=num_rows)
        table = file.read(columns=["label", "labeler"])
    except (pa.ArrowException, OSError):
        return ShardCounts()
    return count_label_fields(zip(table["label"].to_pylist(), table["labeler"].to_pylist(), strict=True))
