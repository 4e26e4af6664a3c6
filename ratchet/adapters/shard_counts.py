"""How many labels are in a shard that does not say so, by class and by labeler: of bytes that nobody has checked."""

from ratchet.core.errors import DataRejected
from ratchet.core.labels.shards import ShardCounts, count_label_fields
from ratchet.core.lines import BrokenLine, read_lines, split_lines


def count_shard(key: str, data: bytes) -> ShardCounts:
    """Counts of whatever can be counted: lines that are no labels are a number, a broken Parquet file is nothing.

    Whatever the bytes are, this returns: one shard never stops the count of the others.
    """
    try:
        return _count_lines(data) if key.endswith(".jsonl") else _count_rows(data)
    except Exception:
        return ShardCounts()


def _count_lines(data: bytes) -> ShardCounts:
    num_lines, is_readable = 0, True
    pairs: list[tuple[object, object]] = []
    for line in read_lines(split_lines(data)):
        num_lines += 1
        if isinstance(line, BrokenLine) or not isinstance(line.value, dict):
            is_readable = False
        elif is_readable:
            pairs.append((line.value.get("label"), line.value.get("labeler")))
    return count_label_fields(pairs) if is_readable else ShardCounts(num_labels=num_lines)


def _count_rows(data: bytes) -> ShardCounts:
    from ratchet.adapters.parquet_shard import read_parquet_fields

    try:
        num_rows, pairs = read_parquet_fields(data)
    except DataRejected:
        return ShardCounts()
    return ShardCounts(num_labels=num_rows) if pairs is None else count_label_fields(pairs)
