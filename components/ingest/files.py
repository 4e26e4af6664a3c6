"""The files of a new dataset version: shards of each split, and the index of what it holds."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.ingest.spill import Spill
from ratchet.core.digest import digest_of_bytes
from ratchet.core.labels.corrections import joined_overlays
from ratchet.core.labels.dataset import DataFile, DatasetShard, Manifest, md5_of, plan_index_merge
from ratchet.core.labels.digests import split_codes
from ratchet.core.labels.label_values import index_texts
from ratchet.core.labels.schema import ExampleSchema, ImageInput, OutputSpec
from ratchet.core.labels.shards import SPLITS
from ratchet.core.labels.tables import INDEX, parquet_of

SHARD_ROWS_MAX = 20_000
"""Nobody who wants 10,000 rows of the reference has to read many more: 10 MB of 64 features."""
_SHARD_PIXEL_BYTES = 128 << 20
"""Of pictures, fewer rows: a step that reads a shard holds it in memory."""
_NUM_THREADS = 2
"""Compression and digests leave the interpreter; more threads hold more files in memory."""


class VersionFiles(Mapping[str, bytes]):
    """The new files of a version by their paths, kept in a folder: one at a time is in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Path] = {}

    def put(self, path: str, data: bytes, num_rows: int) -> DataFile:
        local = self._folder / path.replace("/", "-")
        local.write_bytes(data)
        self._names[path] = local
        return DataFile(path=path, num_rows=num_rows, sha256=digest_of_bytes(data), md5=md5_of(data))

    def __getitem__(self, path: str) -> bytes:
        return self._names[path].read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def shard_files(
    said: pa.Table,
    rows: np.ndarray,
    ids: np.ndarray,
    inputs: Spill,
    schema: ExampleSchema,
    number: int,
    files: VersionFiles,
) -> list[DatasetShard]:
    """Parquet shards of each split that has rows; the bytes go into `files`.

    said: the examples, without `inputs`. rows: (N,) their numbers in `inputs`. ids: (N,) digests of their ids.
    """
    codes_N = split_codes(ids)
    parts: list[tuple[str, int, np.ndarray]] = []
    size = _rows_max(schema)
    for code, split in enumerate(SPLITS):
        mine = np.flatnonzero(codes_N == code)
        for part, start in enumerate(range(0, len(mine), size)):
            name = f"v{number}-{split}" + (f"-{part}" if part else "")
            parts.append((f"shards/{name}.parquet", code, mine[start : start + size]))

    def made(part: tuple[str, int, np.ndarray], found: pa.Table) -> DatasetShard:
        path, code, mine = part
        whole = said.take(pa.array(mine)).append_column("inputs", found["inputs"])
        file = files.put(path, parquet_of(whole.select(schema.rows_schema.names)), len(mine))
        return DatasetShard(**file.model_dump(), split=SPLITS[code])

    shards = []
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        taken = inputs.parts([rows[mine] for _, _, mine in parts])
        waiting: deque[Future[DatasetShard]] = deque()
        for each, found in zip(parts, taken, strict=True):
            waiting.append(threads.submit(made, each, found))
            if len(waiting) > _NUM_THREADS:
                shards.append(waiting.popleft().result())
        shards += [shard.result() for shard in waiting]
    return shards


def _rows_max(schema: ExampleSchema) -> int:
    pixel_bytes = sum(each.num_bytes for each in schema.inputs if isinstance(each, ImageInput))
    return max(1, min(SHARD_ROWS_MAX, _SHARD_PIXEL_BYTES // max(1, pixel_bytes)))


def index_files(
    new: pa.Table, number: int, parent: Manifest | None, indexes: Sequence[pa.Table], files: VersionFiles
) -> tuple[DataFile, ...]:
    """The index files of the new version: those of the parent, the last ones merged with the new examples (`INDEX`)."""
    old = parent.index if parent else ()
    if not new.num_rows:
        return old
    num_merged = plan_index_merge([file.num_rows for file in old], new.num_rows)
    kept = len(old) - num_merged
    whole = pa.concat_tables([*indexes[kept:], new])  # of an id that is there twice the last counts
    return (*old[:kept], files.put(f"shards/v{number}-index.parquet", parquet_of(whole), whole.num_rows))


def overlay_files(
    new: pa.Table, number: int, parent: Manifest | None, overlays: Sequence[pa.Table], files: VersionFiles
) -> tuple[DataFile, ...]:
    """The overlays of the new version: those of the parent, the last ones merged with the new corrections."""
    old = parent.overlays if parent else ()
    if not new.num_rows:
        return old
    num_merged = plan_index_merge([file.num_rows for file in old], new.num_rows)
    kept = len(old) - num_merged
    whole = joined_overlays([new, *reversed(overlays[kept:])])
    assert whole is not None
    return (*old[:kept], files.put(f"shards/v{number}-overlay.parquet", parquet_of(whole), whole.num_rows))


def index_table(ids: np.ndarray, inputs: np.ndarray, labels: pa.Array, output: OutputSpec) -> pa.Table:
    return pa.table([pa.array(ids), pa.array(inputs), index_texts(labels, output)], schema=INDEX)
