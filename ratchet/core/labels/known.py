"""Which examples a dataset version holds already, known by digests: 20 bytes a label instead of the shards. Pure.

A collision of two of a million 64-bit digests has a chance of 3 in 100 million; it would drop one example.
"""

from collections.abc import Sequence

import numpy as np

from ratchet.core.labels.shards import Split, split_at


class KnownExamples:
    """What the parent version says of a few ids and features."""

    def __init__(self) -> None:
        self._label_by_id: dict[int, str] = {}
        self._ids_by_features: dict[int, list[int]] = {}

    def add(self, *, id_digests: Sequence[int], features_digests: Sequence[int], labels: Sequence[str]) -> None:
        for id_digest, features_digest, label in zip(id_digests, features_digests, labels, strict=True):
            self._label_by_id[id_digest] = label
            self._ids_by_features.setdefault(features_digest, []).append(id_digest)

    def label_of(self, id_digest: int) -> str | None:
        """The label of an id, when it is known."""
        return self._label_by_id.get(id_digest)

    def twin_split_of(self, features_digest: int, *, id_digest: int) -> Split | None:
        """Where another id with exactly these features is: of several, one in another split comes first."""
        splits = [split_at(twin) for twin in self._ids_by_features.get(features_digest, ()) if twin != id_digest]
        own = split_at(id_digest)
        return min(splits, key=lambda split: (split == own, split), default=None)


def rows_in_question(
    index_ids_N: np.ndarray, index_features_N: np.ndarray, *, ids_B: np.ndarray, features_B: np.ndarray
) -> np.ndarray:
    """The rows (indices) of an index, (N,) uint64 each, that share an id or features with a batch, (B,) uint64 each."""
    return np.flatnonzero(np.isin(index_ids_N, ids_B) | np.isin(index_features_N, features_B))
