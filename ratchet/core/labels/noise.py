"""Labels that their nearest neighbours contradict, labeler by labeler: compared with the labels around them. Pure.

Shape suffixes: N labels of the batch, R labels that were accepted before, F features, K neighbours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ratchet.core.labels.excess import LabelerRecord, Yardstick, each_confidence, not_judged, record_of

_CHUNK_ROWS = 512
"""Rows of the distance matrix held at once: 512 x 10,000 float32 are 20 MB."""
_ACCEPTED = None
"""Whose the accepted labels are: nobody's of this batch."""


def measure_label_noise(
    features_NF: np.ndarray,
    labels_N: np.ndarray,
    labelers_N: Sequence[str],
    examples_N: np.ndarray,
    reference_RF: np.ndarray,
    reference_labels_R: np.ndarray,
    *,
    num_neighbours: int,
    num_against: int,
    num_judged_min: int,
    confidence: float,
) -> tuple[LabelerRecord, ...]:
    """One record of each labeler, in the order of their names.

    features_NF, reference_RF: float. labels_N, reference_labels_R: class indices. examples_N: integers, equal for
    opinions on one example, which are no neighbours of each other.

    A label is contradicted when `num_against` of its nearest neighbours agree on one other label (Wilson, "Asymptotic
    properties of nearest neighbor rules using edited data", 1972, with a stricter vote). A labeler is compared with the
    labels of others in this batch that are among his labels' own neighbours: they are as hard. One whose labels have no
    such neighbours is compared with the accepted labels near his. One who stands alone is not judged.
    """
    names = sorted(set(labelers_N))
    each = each_confidence(confidence, len(names))
    scaled_NF, scaled_RF = _scaled(features_NF, reference_RF)
    own = _Judged.of(scaled_NF, labels_N, labelers_N, examples_N, num_neighbours, num_against)
    apart_R = -1 - np.arange(len(reference_labels_R))
    both = _Judged.of(
        np.concatenate([scaled_NF, scaled_RF]),
        np.concatenate([labels_N, reference_labels_R]),
        [*labelers_N, *[_ACCEPTED] * len(reference_labels_R)],
        np.concatenate([examples_N, apart_R]),
        num_neighbours,
        num_against,
    )
    return tuple(
        own.compare(name, num_judged_min, each, "others")
        or both.compare(name, num_judged_min, each, "accepted")
        or not_judged(name, int((own.labelers_N == name).sum()))
        for name in names
    )


def local_disagreement(
    features_NF: np.ndarray, reference_RF: np.ndarray, reference_labels_R: np.ndarray, *, num_neighbours: int
) -> np.ndarray | None:
    """How often two accepted labels near each example differ, (N,), 0..1: what honest people differ by, or more.

    Source: Cover & Hart, "Nearest neighbor pattern classification" (1967): neighbours differ at least as often as two
    labels of one example. None without accepted labels.
    """
    if len(reference_labels_R) <= num_neighbours or not len(features_NF):
        return None
    scaled_NF, scaled_RF = _scaled(features_NF, reference_RF)
    nearest_NK = _nearest(scaled_NF, scaled_RF, num_neighbours)
    near_NK = reference_labels_R[nearest_NK]
    differ_N = (near_NK[:, :, None] != near_NK[:, None, :]).sum(axis=(1, 2))
    return np.asarray(differ_N / (num_neighbours * (num_neighbours - 1)))


class _Judged(NamedTuple):
    """Labels with their neighbours, and which of them these contradict."""

    labelers_N: np.ndarray
    nearest_NK: np.ndarray
    contradicted_N: np.ndarray

    @classmethod
    def of(
        cls,
        scaled_NF: np.ndarray,
        labels_N: np.ndarray,
        labelers_N: Sequence[object],
        examples_N: np.ndarray,
        num_neighbours: int,
        num_against: int,
    ) -> "_Judged":
        named_N = np.array(labelers_N, dtype=object)
        if len(labels_N) <= num_neighbours:
            return cls(named_N, np.zeros((0, num_neighbours), dtype=np.int64), np.zeros(0, dtype=bool))
        nearest_NK = _nearest(scaled_NF, scaled_NF, num_neighbours, groups=(examples_N, examples_N))
        return cls(named_N, nearest_NK, _contradicted(labels_N, labels_N[nearest_NK], num_against))

    def compare(
        self, name: str, num_judged_min: int, confidence: float, compared_with: Yardstick
    ) -> LabelerRecord | None:
        """With the labels of others among the neighbours of his labels; None when too few of his have any."""
        if not len(self.nearest_NK):
            return None
        own_n = np.flatnonzero(self.labelers_N == name)
        is_other_nK = self.labelers_N[self.nearest_NK[own_n]] != name
        has_others_n = is_other_nK.any(axis=1)
        own_n, is_other_nK = own_n[has_others_n], is_other_nK[has_others_n]
        if len(own_n) < num_judged_min:
            return None
        near_nK = self.nearest_NK[own_n]
        weights_nK = is_other_nK / is_other_nK.sum(axis=1, keepdims=True)
        shares_N = np.bincount(near_nK.ravel(), weights=weights_nK.ravel() / len(own_n))
        return record_of(
            name,
            self.contradicted_N[own_n].astype(float),
            (self.contradicted_N[near_nK] * weights_nK).sum(axis=1),
            confidence=confidence,
            compared_with=compared_with,
            shares_M=shares_N[shares_N > 0],
        )


def _contradicted(labels_N: np.ndarray, near_NK: np.ndarray, num_against: int) -> np.ndarray:
    """Which labels (bool, (N,)) have `num_against` neighbours that agree on one other label."""
    # By pairs of neighbours, not by class: a task may have a hundred thousand of them.
    votes_NK = (near_NK[:, :, None] == near_NK[:, None, :]).sum(axis=2)
    votes_NK[near_NK == labels_N[:, None]] = 0
    return np.asarray(votes_NK.max(axis=1, initial=0) >= num_against)


def _nearest(
    queries_QF: np.ndarray,
    base_BF: np.ndarray,
    num_neighbours: int,
    *,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """The nearest rows of the base, (Q, K), by Euclidean distance.

    groups: of the queries and of the base: equal ones are no neighbours.
    """
    squares_B = np.einsum("bf,bf->b", base_BF, base_BF)
    nearest_QK = np.zeros((len(queries_QF), num_neighbours), dtype=np.int64)
    for start in range(0, len(queries_QF), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        distances = squares_B[None, :] - 2.0 * queries_QF[rows] @ base_BF.T
        if groups is not None:
            distances[groups[0][rows][:, None] == groups[1][None, :]] = np.inf
        nearest_QK[rows] = np.argpartition(distances, num_neighbours - 1, axis=1)[:, :num_neighbours]
    return nearest_QK


def _scaled(features_NF: np.ndarray, reference_RF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with unit variance over all of them; a feature that never changes says nothing."""
    both = np.concatenate([features_NF, reference_RF.reshape(-1, features_NF.shape[1])]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        centred = both - both.mean(axis=0)
        deviation_F = centred.std(axis=0)
        scaled = centred / np.where(deviation_F > 0, deviation_F, 1.0)
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=1e6, neginf=-1e6).astype(np.float32)
    return scaled[: len(features_NF)], scaled[len(features_NF) :]
