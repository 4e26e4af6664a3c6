"""One batch of opinions: read from their shards, and compared with what the parent version holds."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingest.spill import Spill
from ratchet.actions.labels.reading import read_shard
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.digests import id_digests, inputs_digests, splits_of
from ratchet.core.labels.known import KnownExamples
from ratchet.core.labels.label_values import labels_of_texts
from ratchet.core.labels.measured import RejectedShard
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import LabelShard
from ratchet.core.labels.tables import incoming_schema, parquet_writer
from ratchet.tasks.spec import TaskSpec

_NUM_AHEAD, _AHEAD_BYTES = 4, 64 << 20
"""Shards that are fetched and parsed while one is taken in: as they lie in the bucket, of 256 MiB at most each."""
_NUM_THREADS = 2
"""Parsing leaves the interpreter; more threads hold more files in memory."""

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Every readable opinion that waits."""

    opinions: pa.Table
    """`tables.incoming_schema` without `inputs`."""
    inputs: Spill
    """The column `inputs` of the same rows."""
    ids: np.ndarray
    """(N,) uint64 digests of the ids."""
    digests: np.ndarray
    """(N,) uint64 digests of the inputs."""
    rejected: Sequence[RejectedShard]
    known: KnownExamples


def read_batch(
    spec: TaskSpec, pending: Backlog, stores: LabelStores, indexes: list[pa.Table], *, scratch: Path
) -> Batch:
    """The opinions of all shards that wait. One that cannot be read stands aside and does not hold up the others.

    A range is a matter of `validate`: a value beyond it is its labeler's, not the shard's.
    """
    schema = spec.examples
    spill = Spill(scratch / "inputs.arrow", pa.schema([schema.rows_schema.field("inputs")]))
    said = [_said_schema(schema).empty_table()]
    ids, digests = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    rejected = []
    for shard, rows in _read_ahead(schema, pending, stores):
        if not isinstance(rows, pa.Table):
            rejected.append(RejectedShard.of(shard.key, rows))
            log.warning("label shard cannot be read: %s", rejected[-1].reason)
            continue
        spill.add(rows.select(["inputs"]))
        ids.append(id_digests(rows["id"]))
        digests.append(inputs_digests(rows, schema))
        key_N = pa.array([shard.key], pa.string()).take(pa.array(np.zeros(rows.num_rows, dtype=np.int8)))
        said.append(rows.drop_columns("inputs").append_column("shard", key_N))
    spill.close()
    return _batch_of(
        schema, pa.concat_tables(said), spill, np.concatenate(ids), np.concatenate(digests), rejected, indexes
    )


def empty_batch(spec: TaskSpec, *, scratch: Path) -> Batch:
    spill = Spill(scratch / "inputs.arrow", pa.schema([spec.examples.rows_schema.field("inputs")]))
    spill.close()
    none, said = np.zeros(0, np.uint64), _said_schema(spec.examples).empty_table()
    return _batch_of(spec.examples, said, spill, none, none, (), [])


def write_incoming(batch: Batch, schema: ExampleSchema, path: Path) -> None:
    """All opinions of a batch as `tables.incoming_schema`."""
    wanted = incoming_schema(schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    with parquet_writer(str(path), wanted, compression="lz4") as writer:
        for start, inputs in batch.inputs:
            said = batch.opinions.slice(start, inputs.num_rows)
            writer.write_table(said.append_column("inputs", inputs.column(0)).select(wanted.names))


def _batch_of(
    schema: ExampleSchema,
    said: pa.Table,
    inputs: Spill,
    ids_N: np.ndarray,
    digests_N: np.ndarray,
    rejected: Sequence[RejectedShard],
    indexes: list[pa.Table],
) -> Batch:
    known = KnownExamples.of(indexes, ids_B=ids_N, inputs_B=digests_N)
    columns = {
        "split": splits_of(ids_N),
        "known_label": labels_of_texts(known.labels_of(ids_N), schema.output),
        "known_twin_split": known.twin_splits_of(digests_N, ids_B=ids_N),
    }
    for name, column in columns.items():
        said = said.append_column(name, column)
    return Batch(said, inputs, ids_N, digests_N, rejected, known)


def _said_schema(schema: ExampleSchema) -> pa.Schema:
    fields = [field for field in schema.opinions_schema if field.name != "inputs"]
    return pa.schema([*fields, pa.field("shard", pa.string())])


def _read_ahead(
    schema: ExampleSchema, pending: Backlog, stores: LabelStores
) -> Iterator[tuple[LabelShard, pa.Table | DataRejected | NotFound]]:
    """Every shard with its rows, or with why it cannot be read, in their order."""
    free = schema.without_limits
    # Pictures take their size as pixels, which no listing tells: one file of them at a time.
    num_ahead = 0 if any(schema.of_type("image")) else _NUM_AHEAD

    def read(shard: LabelShard) -> pa.Table | DataRejected | NotFound:
        try:
            found = read_shard(shard.key, stores.labels.fetch_shard(shard.key), schema=free, images=stores.images)
            return _wanted(found, shard.key, pending)
        except (DataRejected, NotFound) as error:  # not found: deleted since it was listed
            return error

    waiting: deque[tuple[LabelShard, Future[pa.Table | DataRejected | NotFound]]] = deque()
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for shard in pending.shards:
            size_bytes = shard.size_bytes + sum(other.size_bytes for other, _ in waiting)
            while waiting and (len(waiting) > num_ahead or size_bytes > _AHEAD_BYTES):
                first, rows = waiting.popleft()
                size_bytes -= first.size_bytes
                yield first, rows.result()
            waiting.append((shard, threads.submit(read, shard)))
        while waiting:
            first, rows = waiting.popleft()
            yield first, rows.result()


def _wanted(rows: pa.Table, key: str, pending: Backlog) -> pa.Table:
    labelers = pc.unique(rows["labeler"]).to_pylist()
    wanted = [labeler for labeler in labelers if pending.is_wanted(key, labeler)]
    return (
        rows if len(wanted) == len(labelers) else rows.filter(pc.is_in(rows["labeler"], pa.array(wanted, pa.string())))
    )
