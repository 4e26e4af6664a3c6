"""Labels that their neighbours contradict: how a careless labeler shows when nobody else labelled the same examples.

Shape suffixes: N examples, F features.
"""

import numpy as np

_CHUNK_ROWS = 512
"""Rows of the distance matrix held at once: 512 x 10,000 float32 are 20 MB."""


def find_contradicted(
    features_NF: np.ndarray, labels_N: np.ndarray, *, num_neighbours: int, num_against: int
) -> np.ndarray:
    """Which examples (bool, (N,)) have `num_against` or more of their nearest neighbours agree on one other label.

    features_NF: float; each feature is scaled to unit variance. labels_N: class indices. An example is no neighbour
    of itself; Euclidean distance. Source: Wilson, "Asymptotic properties of nearest neighbor rules using edited data"
    (1972), with a stricter vote, because near a boundary of two classes a bare majority errs often.
    """
    num_rows = len(labels_N)
    contradicted_N = np.zeros(num_rows, dtype=bool)
    if num_rows <= num_neighbours:
        return contradicted_N
    scaled_NF = _scaled(features_NF)
    squares_N = np.einsum("nf,nf->n", scaled_NF, scaled_NF)
    votes_NK = np.eye(int(labels_N.max()) + 1, dtype=np.int32)[labels_N]
    for start in range(0, num_rows, _CHUNK_ROWS):
        rows = np.arange(start, min(start + _CHUNK_ROWS, num_rows))
        distances = squares_N[None, :] - 2.0 * scaled_NF[rows] @ scaled_NF.T
        distances[np.arange(len(rows)), rows] = np.inf
        nearest = np.argpartition(distances, num_neighbours - 1, axis=1)[:, :num_neighbours]
        counts = votes_NK[nearest].sum(axis=1)
        counts[np.arange(len(rows)), labels_N[rows]] = 0
        contradicted_N[rows] = counts.max(axis=1) >= num_against
    return contradicted_N


def _scaled(features_NF: np.ndarray) -> np.ndarray:
    centred_NF = features_NF.astype(np.float32) - features_NF.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation_F = centred_NF.std(axis=0)
    return centred_NF / np.where(deviation_F > 0, deviation_F, 1.0)
