"""A batch of opinions as columns of codes: who said what in which shard. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.digests import id_digests
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.measured import Count, IngestNotes
from ratchet.core.labels.shards import Place


class Places(NamedTuple):
    """The place of each row."""

    known: Sequence[Place]
    codes: np.ndarray
    """(N,) indices of `known`."""

    @classmethod
    def of(cls, rows: pa.Table) -> "Places":
        shards, labelers = (whole_column(rows[name]).fill_null("").dictionary_encode() for name in ("shard", "labeler"))
        width = max(1, len(labelers.dictionary))
        pairs, codes = np.unique(
            shards.indices.to_numpy().astype(np.int64) * width + labelers.indices.to_numpy(), return_inverse=True
        )
        shard_of, labeler_of = shards.dictionary.to_pylist(), labelers.dictionary.to_pylist()
        known = [(shard_of[pair // width], labeler_of[pair % width]) for pair in pairs.tolist()]
        return cls(known, codes.reshape(-1))

    def where(self, is_bad_N: np.ndarray) -> tuple[Place, ...]:
        """The places of these rows, each once, in order."""
        return tuple(sorted(self.known[code] for code in np.unique(self.codes[is_bad_N]).tolist()))

    @property
    def shards_by_labeler(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for shard, labeler in self.known:
            found.setdefault(labeler, set()).add(shard)
        return {labeler: tuple(sorted(shards)) for labeler, shards in found.items()}

    def released(self, notes: IngestNotes) -> tuple[Place, ...]:
        """Those that a person released."""
        return tuple(sorted(place for place in self.known if notes.is_released(*place)))

    def of_rows(self, rows_n: np.ndarray) -> "Places":
        """Of some of the rows."""
        return Places(self.known, self.codes[rows_n])

    def kept(self, places: Iterable[Place]) -> np.ndarray:
        """(N,) which rows are in none of these places."""
        out = set(places)
        return np.array([place not in out for place in self.known], dtype=bool)[self.codes]


def count_bad(check: str, rule: str, is_bad_N: np.ndarray, places: Places) -> Count:
    num_bad = int(is_bad_N.sum())
    where = places.where(is_bad_N) if num_bad else ()
    return Count(check=check, rule=rule, num_bad=num_bad, num_rows=len(is_bad_N), places=where)


def first_rows(codes_N: np.ndarray) -> np.ndarray:
    """Of each value the first row that has it, in the order of the rows."""
    return np.sort(np.unique(codes_N, return_index=True)[1])


def drawn(rows: pa.Table, some: np.ndarray, num: int) -> np.ndarray:
    """At most `num` of some of the rows, drawn by the digests of their ids: the same ones at each attempt."""
    if len(some) <= num:
        return some
    digests = id_digests(rows["id"].take(pa.array(some)))
    return np.asarray(some[np.argsort(digests, kind="stable")[:num]])


def count_changed(rows: pa.Table, inputs_N: np.ndarray, places: Places) -> Count:
    """Rows whose id came with other inputs before: one id must be one example."""
    _, first, which_N = np.unique(codes_of(rows["id"]), return_index=True, return_inverse=True)
    is_changed_N = inputs_N != inputs_N[first[which_N.reshape(-1)]] if len(first) else np.zeros(0, dtype=bool)
    return count_bad("one id, one example", "rows give an id other features than before", is_changed_N, places)


def num_new_of(rows: pa.Table) -> int:
    """Examples that the parent version does not hold."""
    return int(pc.count_distinct(rows["id"].filter(pc.is_null(rows["known_label"]))).as_py())


def codes_in(values: pa.ChunkedArray, names: pa.Array) -> np.ndarray:
    """(N,) places in the names; -1 for others and for null."""
    found = pc.index_in(whole_column(values), value_set=names)
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False)).astype(np.int64)
