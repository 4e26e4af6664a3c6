"""The files of a new dataset version: shards of each split, and the index of what it holds."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from ratchet.core.digest import digest_of_bytes
from ratchet.core.labels.corrections import joined_overlays
from ratchet.core.labels.dataset import DataFile, DatasetShard, Manifest, md5_of, plan_index_merge
from ratchet.core.labels.digests import split_codes
from ratchet.core.labels.label_values import index_texts
from ratchet.core.labels.schema import OutputSpec
from ratchet.core.labels.shards import SPLITS
from ratchet.core.labels.tables import INDEX, parquet_of

SHARD_ROWS_MAX = 20_000
"""Nobody who wants 10,000 rows of the reference has to read many more: 10 MB of 64 features."""
_NUM_THREADS = 2
"""Compression and digests leave the interpreter; more threads hold more files in memory."""


def shard_files(examples: pa.Table, ids: np.ndarray, number: int, files: dict[str, bytes]) -> list[DatasetShard]:
    """Parquet shards of each split that has rows; the bytes go into `files`. ids: (N,) digests of the examples."""
    codes_N = split_codes(ids)
    parts: list[tuple[str, int, np.ndarray]] = []
    for code, split in enumerate(SPLITS):
        rows = np.flatnonzero(codes_N == code)
        for part, start in enumerate(range(0, len(rows), SHARD_ROWS_MAX)):
            name = f"v{number}-{split}" + (f"-{part}" if part else "")
            parts.append((f"shards/{name}.parquet", code, rows[start : start + SHARD_ROWS_MAX]))

    def made(part: tuple[str, int, np.ndarray]) -> tuple[DatasetShard, bytes]:
        path, code, rows = part
        data = parquet_of(examples.take(pa.array(rows)))
        return DatasetShard(**_file_of(path, data, len(rows)).model_dump(), split=SPLITS[code]), data

    shards = []
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for shard, data in threads.map(made, parts):
            files[shard.path] = data
            shards.append(shard)
    return shards


def index_files(
    new: pa.Table, number: int, parent: Manifest | None, indexes: Sequence[pa.Table], files: dict[str, bytes]
) -> tuple[DataFile, ...]:
    """The index files of the new version: those of the parent, the last ones merged with the new examples (`INDEX`)."""
    old = parent.index if parent else ()
    if not new.num_rows:
        return old
    num_merged = plan_index_merge([file.num_rows for file in old], new.num_rows)
    kept = len(old) - num_merged
    whole = pa.concat_tables([*indexes[kept:], new])  # of an id that is there twice the last counts
    path = f"shards/v{number}-index.parquet"
    files[path] = parquet_of(whole)
    return (*old[:kept], _file_of(path, files[path], whole.num_rows))


def overlay_files(
    new: pa.Table, number: int, parent: Manifest | None, overlays: Sequence[pa.Table], files: dict[str, bytes]
) -> tuple[DataFile, ...]:
    """The overlays of the new version: those of the parent, the last ones merged with the new corrections."""
    old = parent.overlays if parent else ()
    if not new.num_rows:
        return old
    num_merged = plan_index_merge([file.num_rows for file in old], new.num_rows)
    kept = len(old) - num_merged
    whole = joined_overlays([new, *reversed(overlays[kept:])])
    assert whole is not None
    path = f"shards/v{number}-overlay.parquet"
    files[path] = parquet_of(whole)
    return (*old[:kept], _file_of(path, files[path], whole.num_rows))


def index_table(ids: np.ndarray, inputs: np.ndarray, labels: pa.Array, output: OutputSpec) -> pa.Table:
    return pa.table([pa.array(ids), pa.array(inputs), index_texts(labels, output)], schema=INDEX)


def _file_of(path: str, data: bytes, num_rows: int) -> DataFile:
    return DataFile(path=path, num_rows=num_rows, sha256=digest_of_bytes(data), md5=md5_of(data))
