"""One batch of opinions: read from their shards, and compared with what the parent version holds."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.actions.labels.reading import read_shard
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.digests import id_digests, inputs_digests, splits_of
from ratchet.core.labels.known import KnownExamples
from ratchet.core.labels.label_values import labels_of_texts
from ratchet.core.labels.measured import RejectedShard
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.tables import incoming_schema
from ratchet.tasks.spec import TaskSpec

_NUM_AHEAD = 4
"""Shards that are fetched while one is read: of 256 MiB at most each."""

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Every readable opinion that waits."""

    incoming: pa.Table
    """`tables.incoming_schema`."""
    ids: np.ndarray
    """(N,) uint64 digests of the ids."""
    inputs: np.ndarray
    """(N,) uint64 digests of the inputs."""
    rejected: Sequence[RejectedShard]
    known: KnownExamples


def read_batch(spec: TaskSpec, pending: Backlog, stores: LabelStores, indexes: list[pa.Table]) -> Batch:
    """The opinions of all shards that wait. One that cannot be read stands aside and does not hold up the others."""
    schema = spec.examples
    rows, rejected = _read_shards(schema, pending, stores)
    ids_N, inputs_N = id_digests(rows["id"]), inputs_digests(rows, schema)
    known = KnownExamples.of(indexes, ids_B=ids_N, inputs_B=inputs_N)
    columns = {
        "split": splits_of(ids_N),
        "known_label": labels_of_texts(known.labels_of(ids_N), schema.output),
        "known_twin_split": known.twin_splits_of(inputs_N, ids_B=ids_N),
    }
    wanted = incoming_schema(schema)
    incoming = pa.table([*rows.columns, *columns.values()], schema=wanted)
    return Batch(incoming, ids_N, inputs_N, rejected, known)


def empty_batch(spec: TaskSpec) -> Batch:
    none = np.zeros(0, np.uint64)
    known = KnownExamples.of([], ids_B=none, inputs_B=none)
    return Batch(incoming_schema(spec.examples).empty_table(), none, none, (), known)


def _read_shards(schema: ExampleSchema, pending: Backlog, stores: LabelStores) -> tuple[pa.Table, list[RejectedShard]]:
    """Rows with their shard. A range is a matter of `validate`: a value beyond it is its labeler's, not the shard's."""
    kind = pa.schema([*schema.rows_schema, pa.field("shard", pa.string())])
    tables: list[pa.Table] = [kind.empty_table()]
    rejected = []
    keys = [shard.key for shard in pending.shards]

    def fetch(key: str) -> bytes | NotFound:
        try:
            return stores.labels.fetch_shard(key)
        except NotFound as error:  # deleted since it was listed
            return error

    with ThreadPoolExecutor(_NUM_AHEAD) as threads:
        for start in range(0, len(keys), _NUM_AHEAD):
            some = keys[start : start + _NUM_AHEAD]
            for key, data in zip(some, threads.map(fetch, some), strict=True):
                try:
                    if isinstance(data, NotFound):
                        raise data
                    found = read_shard(key, data, schema=schema.without_limits, images=stores.images)
                    rows = _wanted(found, key, pending)
                    shard = pa.array([key], pa.string()).take(pa.array(np.zeros(rows.num_rows, dtype=np.int8)))
                    tables.append(pa.table([*rows.columns, shard], schema=kind))
                except (DataRejected, NotFound) as error:
                    rejected.append(RejectedShard.of(key, error))
                    log.warning("label shard cannot be read: %s", rejected[-1].reason)
    return pa.concat_tables(tables), rejected


def _wanted(rows: pa.Table, key: str, pending: Backlog) -> pa.Table:
    labelers = pc.unique(rows["labeler"]).to_pylist()
    wanted = [labeler for labeler in labelers if pending.is_wanted(key, labeler)]
    return (
        rows if len(wanted) == len(labelers) else rows.filter(pc.is_in(rows["labeler"], pa.array(wanted, pa.string())))
    )
