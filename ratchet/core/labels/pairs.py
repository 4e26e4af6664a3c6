"""Labelers of whom each example has but two: who differs from partners more than these from third ones. Pure.

One pair that differs does not tell who is wrong; many pairs with several partners do. With error rates a, b, c of a
labeler, a partner and the partner's other partners, the labeler and the partner differ by about a + b, and the partner
and the others by b + c: the difference a - c is the labeler's own. It holds as far as examples are handed out alike, so
the limit of this comparison is wider than where a third voice sees the same example.

Shape suffixes: n pairs of one labeler, K partners, L labelers.
"""

import numpy as np
from scipy import sparse

from ratchet.core.labels.excess import LabelerRecord, record_of

_PARTNERS_MIN = 2
_OTHER_PAIRS_MIN = 5
"""Of a partner with third labelers: fewer say nothing of how often that partner differs."""


class Pairs:
    """Examples with exactly two voices, both of labelers: how many there are of any two of these, how many differ."""

    def __init__(
        self, examples_N: np.ndarray, labelers_N: np.ndarray, differs_N: np.ndarray, *, num_labelers: int
    ) -> None:
        """(N,) each: two voices on each example, in any order; labelers as integers; 1.0 where the two differ."""
        order = np.argsort(examples_N, kind="stable")
        first, second = labelers_N[order[::2]], labelers_N[order[1::2]]
        where = (np.concatenate([first, second]), np.concatenate([second, first]))
        shape = (num_labelers, num_labelers)
        differs = np.tile(differs_N[order[::2]], 2)
        self._num_LL = sparse.csr_array((np.ones(len(differs)), where), shape=shape)
        self._differs_LL = sparse.csr_array((differs, where), shape=shape)
        self._num_L = np.asarray(self._num_LL.sum(axis=1)).reshape(-1)
        self._differs_L = np.asarray(self._differs_LL.sum(axis=1)).reshape(-1)

    def record_of(self, number: int, name: str, *, num_judged_min: int, confidence: float) -> LabelerRecord | None:
        """The record of one labeler; None when too few pairs, or too few partners, can be compared."""
        if self._num_L[number] < num_judged_min:
            return None
        own_L, own_differs_L = (each[[number]].toarray()[0] for each in (self._num_LL, self._differs_LL))
        third_L = self._num_L - own_L
        partners_K = np.flatnonzero((own_L > 0) & (third_L >= _OTHER_PAIRS_MIN))
        own_K = own_L[partners_K].astype(np.int64)
        if len(partners_K) < _PARTNERS_MIN or own_K.sum() < num_judged_min:
            return None
        expected_K = (self._differs_L - own_differs_L)[partners_K] / third_L[partners_K]
        place_n = np.arange(own_K.sum()) - np.repeat(np.cumsum(own_K) - own_K, own_K)
        weight_L = np.zeros(len(own_L))
        weight_L[partners_K] = own_K / own_K.sum() / third_L[partners_K]
        return record_of(
            name,
            (place_n < np.repeat(own_differs_L[partners_K], own_K)).astype(np.float64),
            np.repeat(expected_K, own_K),
            confidence=confidence,
            compared_with="partners",
            shares_M=self._equal_shares(weight_L, third_L),
        )

    def _equal_shares(self, weight_L: np.ndarray, third_L: np.ndarray) -> np.ndarray:
        """As many equal shares as the third pairs amount to (Kish, "Survey Sampling", 1965: the effective size).

        A third pair of a and b has the share weight a + weight b; the sum of squares of all of them is a form of the
        counts, so that no list of pairs is gone through.
        """
        squares = float(weight_L**2 @ third_L + weight_L @ (self._num_LL @ weight_L))
        num = max(1, int(1 / squares))
        return np.full(num, 1 / num)
