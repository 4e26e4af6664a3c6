"""Which examples a dataset version holds already, known by digests: 20 bytes a label instead of the shards. Pure.

A collision of two of a million 64-bit digests has a chance of 3 in 100 million; it would drop one example.

Shape suffixes: B rows of a batch, N rows of an index.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.digests import split_codes
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.shards import SPLITS

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""An odd number, so that a pair of digests becomes one word."""


class KnownExamples(NamedTuple):
    """What the parent version says of the ids and the inputs of a batch."""

    ids_N: np.ndarray
    """uint64, rising."""
    inputs_N: np.ndarray
    labels_N: pa.Array
    """Text, as the index has it."""

    @classmethod
    def of(cls, indexes: "list[pa.Table]", *, ids_B: np.ndarray, inputs_B: np.ndarray) -> "KnownExamples":
        """What is in question: the rows of an index (`tables.INDEX`) that share an id or the inputs with the batch."""
        found = [_rows_in_question(index, ids_B=ids_B, inputs_B=inputs_B) for index in indexes]
        ids_N = np.concatenate([np.zeros(0, np.uint64), *(index["id_digest"].to_numpy() for index in found)])
        inputs_N = np.concatenate([np.zeros(0, np.uint64), *(index["features_digest"].to_numpy() for index in found)])
        labels_N = pa.concat_arrays([pa.array([], pa.string()), *(whole_column(index["label"]) for index in found)])
        order_N = np.argsort(ids_N, kind="stable")
        # An id that was corrected is there again, later: the last counts.
        # Cut, for without any row one True would be left.
        is_last_N = np.append(ids_N[order_N][1:] != ids_N[order_N][:-1], True)[: len(order_N)]
        order_N = order_N[is_last_N]
        return cls(ids_N[order_N], inputs_N[order_N], labels_N.take(pa.array(order_N)))

    def labels_of(self, ids_B: np.ndarray) -> pa.Array:
        """(B,) text: the label of each id; null where it is not known."""
        if not len(self.ids_N):
            return pa.nulls(len(ids_B), pa.string())
        places_B = np.searchsorted(self.ids_N, ids_B, side="right") - 1
        # -1 stands before the first; as an index it would be the last.
        is_known_B = (places_B >= 0) & (self.ids_N[np.maximum(places_B, 0)] == ids_B)
        return self.labels_N.take(pa.array(places_B, mask=~is_known_B))

    def inputs_of(self, ids_B: np.ndarray) -> np.ndarray:
        """(B,) uint64: the digest of the inputs that each id was accepted with. All of them are known."""
        return np.asarray(self.inputs_N[np.searchsorted(self.ids_N, ids_B)])

    def twin_splits_of(self, inputs_B: np.ndarray, *, ids_B: np.ndarray) -> pa.Array:
        """(B,) text: where another id with exactly these inputs is; of several, one in another split comes first."""
        groups, group_N = np.unique(self.inputs_N, return_inverse=True)
        num_by_split = np.zeros((len(groups) + 1, len(SPLITS)), dtype=np.int64)
        np.add.at(num_by_split, (group_N, split_codes(self.ids_N)), 1)
        place_B = np.searchsorted(groups, inputs_B)
        is_there_B = np.isin(inputs_B, groups)
        met_BS = num_by_split[np.where(is_there_B, place_B, len(groups))]
        own_B = split_codes(ids_B)
        is_itself_B = np.isin(inputs_B * _MIX + ids_B, self.inputs_N * _MIX + self.ids_N)
        rows_B = np.arange(len(ids_B))
        met_BS[rows_B, own_B] -= is_itself_B
        return _first_of(met_BS > 0, own_B)


def _first_of(met_BS: np.ndarray, own_B: np.ndarray) -> pa.Array:
    """Another split before the own one, by name."""
    found_B = np.full(len(own_B), -1)
    by_name = sorted(range(len(SPLITS)), key=SPLITS.__getitem__, reverse=True)
    found_B[met_BS[np.arange(len(own_B)), own_B]] = own_B[met_BS[np.arange(len(own_B)), own_B]]
    for split in by_name:
        is_other_B = met_BS[:, split] & (own_B != split)
        found_B[is_other_B] = split
    return pa.array(SPLITS, pa.string()).take(pa.array(found_B, mask=found_B < 0))


def _rows_in_question(index: pa.Table, *, ids_B: np.ndarray, inputs_B: np.ndarray) -> pa.Table:
    rows = rows_in_question(
        index["id_digest"].to_numpy(), index["features_digest"].to_numpy(), ids_B=ids_B, features_B=inputs_B
    )
    return index.take(pa.array(rows))


def rows_in_question(
    index_ids_N: np.ndarray, index_features_N: np.ndarray, *, ids_B: np.ndarray, features_B: np.ndarray
) -> np.ndarray:
    """The rows (indices) of an index, (N,) uint64 each, that share an id or features with a batch, (B,) uint64 each."""
    return np.flatnonzero(np.isin(index_ids_N, ids_B) | np.isin(index_features_N, features_B))
